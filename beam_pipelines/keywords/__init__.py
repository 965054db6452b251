"""Keywords of items: phrases of an item's text that say what it is about, and that other items have, too."""
