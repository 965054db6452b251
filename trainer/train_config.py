"""The settings of `[train]`: typed, closed, one sentence a field with the paper it comes from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trainer.augmentation_config import AugmentationConfig
from trainer.item_tower_config import ItemTowerConfig
from trainer.long_tail_config import LongTailConfig
from trainer.settings_base import Closed as Closed


class LoraConfig(Closed):
    """Low-rank updates of BERT's matrices (LoRA, Hu 2021); merged into them when the model is exported."""

    rank: int = Field(8, ge=1, le=256)
    """Rank of each update."""
    alpha: float = Field(16.0, gt=0)
    """Updates are scaled by alpha / rank, so that the rank can change without a new learning rate."""
    targets: Annotated[
        tuple[Literal["query", "key", "value", "output", "inner", "outer"], ...], Field(min_length=1)
    ] = ("query", "value")
    """Which matrices of a layer: those of attention, and the two of the feed-forward part, "inner" and "outer"."""
    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    """Which layers, 0 = the lowest; by default all."""

    @field_validator("targets", "layers")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if values is not None and len(set(values)) < len(values):
            raise ValueError("name each one once")
        return values


class TextConfig(Closed):
    """The BERT text tower shared by items and free-text queries."""

    encoder: str | None = None
    """A folder or a KerasHub preset name; by default the folder that `twotower fetch` brings, <work_dir>/encoder."""
    max_tokens: int = Field(64, ge=4, le=512)
    """Longer texts are cut to this many word pieces, [CLS] and [SEP] included."""
    max_characters: int = Field(2048, ge=16, le=100_000)
    """Longer texts are cut to this many characters before they are tokenized."""
    batch_size: int = Field(64, ge=1)
    """Texts encoded at once when the catalogue's vectors are computed; affects speed and memory only."""
    pooling: Literal["mean", "cls"] = "mean"
    """A text's vector: the mean over its word pieces (Reimers and Gurevych 2019) or that of [CLS] (Devlin 2018)."""
    width: int | None = Field(None, ge=1, le=4096)
    """Text vectors are projected to this width by a matrix that is learned in every mode; by default they are as wide
    as the encoder makes them."""
    mode: Literal["frozen", "lora", "top_layers", "full"] = "frozen"
    """What of BERT learns: nothing, so that its vectors come from a cache; low-rank updates; its upper layers; all."""
    unfreeze_after: int = Field(0, ge=0)
    """With another mode than "frozen": epochs at the beginning in which BERT does not learn and costs nothing."""
    lora: LoraConfig = LoraConfig()
    top_layers: int = Field(2, ge=1)
    """With "top_layers": how many of the upper layers learn."""
    learning_rate: float | None = Field(None, gt=0)
    """Of BERT at its highest; by default 5e-4 with "lora" (Hu 2021, table 9), else 5e-5 (Devlin 2018, appendix A.3)."""
    warmup_steps: int = Field(100, ge=0)
    """Steps in which that rate rises from zero, from the first one in which BERT learns."""
    layer_decay: float = Field(0.9, gt=0, le=1)
    """Each layer learns at this share of the rate of the one above it (Howard and Ruder 2018, section 3.2)."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of BERT's matrices (Devlin 2018, appendix A.2)."""
    pieces_at_once: int = Field(8192, ge=512)
    """Word pieces whose hidden values are kept in memory. A step with more of them encodes its texts twice, part by
    part, as gradient caching does (Gao 2021); the gradients are the same."""

    @property
    def learns_at_once(self) -> bool:
        """Whether BERT learns from the first step on."""
        return self.mode != "frozen" and self.unfreeze_after == 0


class HistoryConfig(Closed):
    """The causal Transformer over the history (SASRec, Kang and McAuley 2018)."""

    max_length: int = Field(100, ge=1, le=4096)
    """Only the most recent events are read, in training and in serving."""
    blocks: int = Field(1, ge=1, le=12)
    """Transformer blocks, each attention and a network behind a normalization (pre-norm, Xiong 2020)."""
    heads: int = Field(2, ge=1, le=32)
    """Attention heads; must divide `embedding_dim`."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """On inputs, attention weights and the output of each part (Srivastava 2014); 0.5 where histories are short."""
    skip_padding: bool = False
    """Train the layers of the Transformer on real events alone. The model is the same; a step is several times as fast
    where most histories are far shorter than `max_length`, and a little slower where they fill it."""
    time_gaps: bool = False
    """Read the time between events; requests must then carry `history_timestamp`."""
    event_types: bool = False
    """Read the type of each event; requests must then carry `history_event`."""


class ModelConfig(Closed):
    """The two towers."""

    embedding_dim: int = Field(64, ge=4, le=1024)
    """Width of query and item vectors and of the Transformer."""
    item: ItemTowerConfig = ItemTowerConfig()
    history: HistoryConfig = HistoryConfig()
    user_features: bool = True
    """Use the user features of the dataset, if it has any."""
    query_text: bool = True
    """Accept a free-text query, read by the same encoder as the items' texts."""
    lexical_width: int = Field(0, ge=0, le=4096)
    """Numbers behind each learned vector that stand for the words of the item or the query, so that a query finds items
    by their very words; not trained. 0 = none; 256 find nearly what BM25 finds; see `trainer/lexical.py`."""
    lexical_weight: float = Field(3.0, gt=0)
    """How much BM25's score of a query counts beside the learned score."""
    new_item_head_start: float = Field(0.0, ge=0)
    """Added to the scores of items without training events, which the model expects to be chosen never; about the
    logarithm of how much more often they shall be shown. 0 = as the model finds."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> ModelConfig:
        if self.embedding_dim % self.history.heads:
            raise ValueError(
                f"history.heads = {self.history.heads} must divide embedding_dim = {self.embedding_dim}"
            )
        return self


class RetrievalConfig(Closed):
    """The retrieval task: softmax of the wanted item among the catalogue or a sample of it."""

    weight: float = Field(1.0, ge=0)
    """Weight of the retrieval loss."""
    softmax: Literal["sampled", "distinct", "full"] = "sampled"
    """"sampled": among the targets of the batch and drawn items, repeated as they come (tfrs.tasks.Retrieval).
    "distinct": among all items of the batch and drawn ones, each once, which costs less and has less noise.
    "full": among all items in every step, exactly; for catalogues of up to some 20,000."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Score of a query and an item vector: their product, or that of their directions."""
    temperature: float = Field(1.0, gt=0)
    """Scores are divided by it; with cosine similarity take about 0.05 to 0.1."""
    learned_temperature: bool = False
    """Learn the temperature from there on, never below 0.01 (CLIP, Radford 2021, section 2.5)."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target's probability that is spread over all candidates (Szegedy 2016, section 7)."""
    queries_per_step: int = Field(1024, ge=1)
    """At most this many events of a batch are predicted in a step, drawn at random; bounds memory."""
    in_batch_negatives: bool = True
    """With "sampled": the targets of the step's other queries are negatives (tfrs.tasks.Retrieval; Yi 2019)."""
    uniform_negatives: int = Field(4096, ge=0)
    """Items drawn uniformly beside the batch's own; a catalogue up to this size takes part as a whole."""
    popularity_negatives: int = Field(0, ge=0)
    """Items drawn in proportion to their training events, as in word2vec (Mikolov 2013, section 2.2)."""
    sampling_correction: bool = True
    """Take off each negative's score the logarithm of how often it was expected (Yi 2019, equation 5), so that the
    loss estimates the full softmax. Without it the target has only as many rivals as are drawn: it is let go sooner,
    which is how SASRec with sampled softmax is trained (Klenitskiy and Vasilev 2023)."""
    remove_accidental_hits: bool = True
    """A negative that is the positive of the row is removed."""
    hard_negatives: int | None = Field(None, ge=1)
    """With "sampled" in the batch: only this many of the best scored negatives of a query count; None = all."""
    adversarial_weight: float = Field(0.0, ge=0)
    """Weight of the same loss under the worst small change of query and item vectors (APR, He 2018, equation 8)."""
    adversarial_step: float = Field(0.5, gt=0)
    """Length of that change, as a multiple of the vectors' root mean square."""

    @model_validator(mode="after")
    def _something_to_compare_with(self) -> RetrievalConfig:
        drawn = self.uniform_negatives + self.popularity_negatives
        if self.softmax == "sampled" and not (self.in_batch_negatives or drawn):
            raise ValueError(
                "a sampled softmax needs negatives: turn in_batch_negatives on, set uniform_negatives or "
                "popularity_negatives, or softmax = 'full'"
            )
        return self


class QueryTextConfig(Closed):
    """Free-text queries made from the words of the wanted item, for data without queries of its own."""

    rate: float = Field(0.2, ge=0, le=1)
    """Share of predicted events that are given a text query."""
    without_history: float = Field(0.5, ge=0, le=1)
    """Share of those whose history is hidden, as for a new user who types a wish."""
    word_dropouts: int = Field(2, ge=0, le=16)
    """Number of variants of each text, each with half of its words, beside the text, title and categories."""
    several: float = Field(0.0, ge=0, le=1)
    """Share of text queries that come as two wishes, both from the wanted item's words."""
    unwanted: float = Field(0.3, ge=0)
    """How much unwanted words ("not Apple") count against items in the query vector: 1 takes away all that they would
    add to an empty query and the wish does not say, too; 0 only leaves them out of the wish. Used where queries are
    answered, not in training."""
    unwanted_words: float = Field(1.0, ge=0)
    """The same for `model.lexical_width`: how much of BM25's score of unwanted words is taken from an item's."""


class RankingConfig(Closed):
    """The ranking task (tfrs.tasks.Ranking): re-orders the retrieved items."""

    weight: float = Field(0.3, ge=0)
    """Weight of the loss that puts the target above hard negatives."""
    value_weight: float = Field(0.1, ge=0)
    """Weight of the loss on the observed value (a rating, say), if the dataset has one. It teaches the ranking head
    alone, in deviations from the median, with huge values held back (Huber 1964)."""
    queries_per_step: int = Field(128, ge=1)
    """At most this many events of a step are used for this task."""
    candidates: int = Field(200, ge=1)
    """Retrieved items that are re-ordered, in training, evaluation and serving."""
    negatives: int = Field(24, ge=1)
    """Hard negatives a query, drawn from its candidates."""
    hidden_units: int = Field(64, ge=1)
    """Of the network over query, item and what the history says of the item (Deep Interest Network, Zhou 2018)."""
    neighbours: int = Field(50, ge=0, le=1000)
    """Neighbours an item, found in what users had together, that have a say in the order of the candidates: EASE's
    weights (Steck 2019) up to 20,000 items, cosines (Sarwar 2001) beyond; 0 = none."""
    blend: bool = True
    """After the last epoch, choose on validation events how much the network's correction and the neighbours count
    beside the retrieval score, and in a model with `lexical_width` the words of the history (stacking by held-out
    events, Jahrer 2010); false = the correction in full, nothing else."""


class TrainConfig(Closed):
    """Training of both tasks together."""

    seed: int = Field(42, ge=0)
    """Of initial weights, order of events, draws and dropout; the same seed gives the same model."""
    epochs: int = Field(30, ge=1)
    """At most so many passes over the training events; the learning rate falls over all of them."""
    patience: int = Field(8, ge=1)
    """Stop after this many epochs without a better validation NDCG@10; the best epoch is kept."""
    batch_size: int = Field(16, ge=1)
    """Histories (windows of `history.max_length` events) in a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Of AdamW at its highest; falls to a tenth along a cosine (Loshchilov and Hutter 2017)."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW, Loshchilov and Hutter 2019)."""
    warmup_steps: int = Field(100, ge=0)
    """Steps in which the learning rate rises from zero (Goyal 2017)."""
    clip_norm: float = Field(5.0, gt=0)
    """Gradients are scaled down to this global norm (Pascanu 2013)."""
    table_optimizer: Literal["adamw", "adagrad", "lazy_adam"] = "adamw"
    """Of the vectors of IDs, categories and words. "adamw": as all else, every row in every step. "adagrad" (Duchi
    2011) and "lazy_adam" (TensorFlow Addons) change the rows of the step alone, which large catalogues need."""
    table_learning_rate: float | None = Field(None, gt=0)
    """Of these vectors at its highest; by default 0.1 with "adagrad" (its rate in the TFRS tutorials), else
    `learning_rate`."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What the matrices of a training step are multiplied in; weights, sums and losses stay float32, and so does all
    that is evaluated and exported. With "mixed_float16" the loss is scaled (Micikevicius 2018)."""
    jit_compile: bool = False
    """Compile the training step by XLA. Shapes are then fixed, so sets are filled up to their largest size."""
    distribution: Literal["one_device", "mirrored", "multi_worker", "tpu"] = "one_device"
    """"mirrored": the batch is divided among all devices of this machine; "multi_worker": among the machines that
    TF_CONFIG lists; "tpu": among the cores of the TPU that TPU_NAME names. `batch_size` is that of all together."""
    repeats: bool = False
    """Users choose the same item again, as in a grocer's shop: items of the history stay in the lists, in training,
    evaluation and export alike. By default what was chosen once is not shown again."""
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    query_text: QueryTextConfig = QueryTextConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    ranking: RankingConfig = RankingConfig()
    long_tail: LongTailConfig = LongTailConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def fixed_shapes(self) -> bool:
        """Whether no shape of a step may depend on the data."""
        return self.jit_compile or self.distribution == "tpu"

    @model_validator(mode="after")
    def _steps_can_be_compiled(self) -> TrainConfig:
        if not self.fixed_shapes:
            return self
        changing = {
            "model.history.skip_padding": self.model.history.skip_padding,
            "model.item.words": self.model.item.words,
            "retrieval.hard_negatives": self.retrieval.hard_negatives,
            "text.mode": self.text.mode != "frozen",
        }
        if named := [name for name, used in changing.items() if used]:
            raise ValueError(
                f"{', '.join(named)} needs shapes that change from step to step, which jit_compile and "
                "distribution = 'tpu' rule out: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _several_devices_can_do_it(self) -> TrainConfig:
        if self.distribution == "one_device":
            return self
        if self.precision == "mixed_float16":
            raise ValueError("precision = 'mixed_float16' needs one_device; take 'mixed_bfloat16'")
        if self.jit_compile:
            raise ValueError("jit_compile needs distribution = 'one_device'; a TPU compiles anyway")
        return self

    @model_validator(mode="after")
    def _texts_learn_on_one_device(self) -> TrainConfig:
        if self.text.mode != "frozen" and self.distribution != "one_device":
            raise ValueError("a text.mode in which BERT learns needs distribution = 'one_device'")
        if self.text.mode != "frozen" and self.precision == "mixed_float16":
            raise ValueError("a text.mode in which BERT learns needs precision 'float32' or 'mixed_bfloat16'")
        if self.text.mode != "frozen" and self.model.item.text_variants:
            raise ValueError(
                'model.item.text_variants are vectors made beforehand and need text.mode = "frozen"'
            )
        return self

    @model_validator(mode="after")
    def _texts_can_learn(self) -> TrainConfig:
        if self.text.mode == "frozen" and self.text.unfreeze_after:
            raise ValueError(
                'text.unfreeze_after needs another text.mode than "frozen": that one never learns'
            )
        if self.text.unfreeze_after >= self.epochs:
            raise ValueError(
                f"text.unfreeze_after = {self.text.unfreeze_after} must be below epochs = {self.epochs}, "
                "or BERT never learns"
            )
        if self.text.width is not None and self.model.item.whiten_text:
            raise ValueError(
                "model.item.whiten_text is measured once and cannot follow a projection that is learned: "
                "take it or text.width"
            )
        return self
