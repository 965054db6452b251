"""The literals that must be known before a file can be opened: file names, formats, signatures.

They are repeated in the packages that write or read the same files; a test compares the copies.
"""

from __future__ import annotations

CONFIG_KEYS = (
    "name",
    "work_dir",
    "fetch",
    "features",
    "train",
    "tune",
    "evaluate",
    "distill",
    "export",
    "intent",
)
"""Top-level keys of the configuration file; each package validates its own tables."""
SPLIT_PROTOCOLS = ("leave_last_out", "by_time")

# Contract A: the dataset directory.
DATASET_FORMAT = "twotower-dataset"
DATASET_VERSION = 1
SCHEMA_FILE = "schema.json"
DATASET_FILE = "dataset.json"
TITLES_FILE = "titles.tsv"
KEYWORDS_FILE = "keywords.tsv"
ROLES = (
    "user_id",
    "item_id",
    "timestamp",
    "event",
    "value",
    "weight",
    "query_text",
    "event_category",
    "event_numeric",
    "item_text",
    "item_title",
    "item_category",
    "item_numeric",
    "item_vector",
    "item_keyword",
    "item_text_variant",
    "user_category",
    "user_numeric",
    "target_start",
)

# Contract B: the SavedModel.
SERVING_FILE = "serving.json"
SERVING_FORMAT = "twotower-model"
SERVING_VERSION = 1
EXTRA_ASSETS = "assets.extra"
ITEM_DIGESTS_FILE = "item_digests.npy"
WARMUP_FILE = "tf_serving_warmup_requests"
DEFAULT_SIGNATURE = "serving_default"

HISTORY_ITEM_ID = "history_item_id"
HISTORY_TIMESTAMP = "history_timestamp"
HISTORY_EVENT = "history_event"
QUERY = "query"
WISH_SEPARATOR = "\x1e"
"""Stands between the wishes of a query."""
EXCLUDE_ITEM_ID = "exclude_item_id"
ALLOW_ITEM_ID = "allow_item_id"
ALLOW_CATEGORY = "allow_category"
BLOCK_CATEGORY = "block_category"
MAX_PER_CATEGORY = "max_per_category"
MIN_SCORE = "min_score"
ONE_PER_VARIANT = "one_per_variant"
DIVERSITY = "diversity"
EXPLORATION = "exploration"
SEED = "seed"
RULES = (
    EXCLUDE_ITEM_ID,
    ALLOW_ITEM_ID,
    ALLOW_CATEGORY,
    BLOCK_CATEGORY,
    MAX_PER_CATEGORY,
    MIN_SCORE,
    ONE_PER_VARIANT,
    DIVERSITY,
    EXPLORATION,
    SEED,
)
"""Inputs of `recommend` and `retrieve` that say what a list may hold; a request can leave them out."""
ITEM_ID = "item_id"
SCORE = "score"
PROPENSITY = "propensity"
EMBEDDING = "embedding"
EXAMPLES = "examples"
EMBED_KNOWN = "embed_known"
"""A function of the SavedModel, though no signature: `embed_item` for items by their id."""

RESERVED_INPUTS = (
    HISTORY_ITEM_ID,
    HISTORY_TIMESTAMP,
    HISTORY_EVENT,
    QUERY,
    *RULES,
    ITEM_ID,
    EXAMPLES,
)
"""Input names that no user feature may take."""
