"""Item-to-item neighbours: which items the same users had, as a second opinion on what retrieval found.

ease.py     weights between items in closed form, for catalogues up to some 20,000 items
cosine.py   the same from the cosine between the users of two items, for larger ones
table.py    the nearest neighbours of every trained item, as arrays and as a file of a run
scores.py   what the neighbours of a history say of candidates, in the graph
blend.py    how much the ranking head and the neighbours count, chosen on validation events
"""
