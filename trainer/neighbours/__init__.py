"""Second opinions beside the learned score: neighbours of items, words of histories, and how much each counts.

ease.py           weights between items in closed form, for catalogues up to some 20,000 items
cosine.py         the same from the cosine between the users of two items, for larger ones
table.py          the nearest neighbours of every trained item, as arrays and as a file of a run
scores.py         what the neighbours of a history say of candidates, in the graph
weights.py        how much each opinion counts
history_words.py  chooses it for the words of a history, over the whole catalogue
blend.py          chooses it for the ranking head and the neighbours, among candidates
"""
