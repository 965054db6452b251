"""The two-tower model: towers, ranking head and tasks joined into one training step."""

from __future__ import annotations

import math
from typing import Any

from trainer.asked_texts import AskedTexts
from trainer.config import TrainConfig
from trainer.distribution import replicas
from trainer.features import FeatureSpecs
from trainer.item_tower import ID, TEXT, ItemTower
from trainer.keras_compat import keras, tf
from trainer.lexical import LEXICAL, LexicalSketch
from trainer.model_inputs import CatalogueTables, ModelSpec
from trainer.neighbours.scores import neighbour_scores, recency
from trainer.neighbours.weights import Blend
from trainer.new_items import item_flags, query_flags
from trainer.query_tower import QueryTower
from trainer.ranking_head import RankingHead
from trainer.ranking_losses import RankingLosses
from trainer.retrieval_loss import RetrievalLoss
from trainer.sampling import Candidates, candidate_set
from trainer.step_queries import StepQueries
from trainer.text_modes.tower import TextTower
from trainer.wishes import WishVectors, split_wishes

_COLDEST = 0.01  # CLIP's bound of the learned scale, 100 (Radford 2021, section 2.5)


class TwoTowerModel(keras.Model):  # type: ignore[misc]
    """Retrieval and ranking trained together.

    Args:
        config: All training settings.
        spec: What the data decides.
    """

    def __init__(self, config: TrainConfig, spec: ModelSpec) -> None:
        super().__init__(name="two_tower")
        self.config = config
        self.spec = spec
        model = config.model
        text_width = (config.text.width or spec.text_width) if spec.text_width else 0
        user_specs = spec.user_specs if model.user_features else FeatureSpecs()
        self.item_tower = ItemTower(
            model.item,
            width=model.embedding_dim,
            trained_items=spec.trained_items,
            text_width=text_width,
            specs=spec.item_specs,
            seed=config.seed,
        )
        self.query_tower = QueryTower(
            model,
            user_specs=user_specs,
            text_width=text_width if model.query_text else 0,
            event_types=len(spec.event_types),
            unwanted=config.query_text.unwanted,
        )
        self.ranking_head = RankingHead(
            model.embedding_dim, config.ranking.hidden_units, model.history.dropout
        )
        self._seeds = keras.random.SeedGenerator(config.seed)
        self._retrieval = RetrievalLoss(config.retrieval)
        self._ranking = RankingLosses(
            config.ranking, self.ranking_head, self._seeds, spec.values, repeats=config.repeats
        )
        self._loss_means = {name: keras.metrics.Mean(name=name) for name in self.loss_weights}
        self._total_mean = keras.metrics.Mean(name="loss")
        self.catalogue: CatalogueTables | None = None
        self.sketch: LexicalSketch | None = None  # of a model that compares words
        self.neighbours: tuple[Any, Any] | None = None  # ids and weights of a `NeighbourTable`
        self.blend = Blend()
        self.text_tower: TextTower | None = (
            None  # of a mode in which BERT learns; none of the Keras model's weights
        )
        for part in (self.item_tower, self.query_tower, self.ranking_head):
            part.build(None)
        self.ranking_head.trainable = self._ranks
        self.text_projection = self._learned_projection()
        self._log_temperature = self._learned_temperature()
        self.built = True

    def _learned_temperature(self) -> Any:
        if not self.config.retrieval.learned_temperature:
            return None
        start = keras.initializers.Constant(math.log(self.config.retrieval.temperature))
        return self.add_weight(shape=(), initializer=start, name="log_temperature")

    def _learned_projection(self) -> Any:
        width = self.config.text.width
        if width is None or not self.spec.text_width:
            return None
        projection = keras.layers.Dense(width, use_bias=False, name="text_projection")
        projection.build((None, self.spec.text_width))
        return projection

    def projected(self, texts: Any) -> Any:
        """Text vectors float32 [B, E] as the towers read them, `train.text.width` wide; zeros stay zeros."""
        return texts if self.text_projection is None else self.text_projection(texts)

    @property
    def temperature(self) -> Any:
        """What scores are divided by: a number, or a float32 scalar tensor if it is learned."""
        if self._log_temperature is None:
            return self.config.retrieval.temperature
        return tf.maximum(tf.exp(tf.convert_to_tensor(self._log_temperature)), _COLDEST)

    @property
    def known_catalogue(self) -> CatalogueTables:
        """The catalogue.

        Raises:
            RuntimeError: `catalogue` has not been set.
        """
        if self.catalogue is None:
            raise RuntimeError("Set `model.catalogue` first.")
        return self.catalogue

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of every loss by name; each is also a metric of that name."""
        ranking = self.config.ranking
        retrieval = self.config.retrieval
        adversarial = {"adversarial_loss": retrieval.adversarial_weight}
        return {
            "retrieval_loss": retrieval.weight,
            **(adversarial if retrieval.adversarial_weight else {}),
            **({"ranking_loss": ranking.weight, "value_loss": ranking.value_weight} if self._ranks else {}),
        }

    @property
    def _ranks(self) -> bool:
        """Whether the ranking head learns; without it a step is a good deal cheaper."""
        return bool(self.config.ranking.weight or self.config.ranking.value_weight)

    @property
    def metrics(self) -> list[Any]:
        """The total loss and each loss, reset by Keras at every epoch."""
        return [self._total_mean, *self._loss_means.values()]

    def encode_items(self, inputs: dict[str, Any]) -> Any:
        """float32 [B, D] vectors of items as they are served (nothing dropped); what is not learned stands behind."""
        parts = [self._normalized(self.item_tower(self._item_inputs(inputs), training=False))]
        if self.sketch is not None:
            parts.append(inputs[LEXICAL])
        if self.config.model.new_item_head_start:
            parts.append(item_flags(inputs[ID]))
        return tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]

    def encode_queries(
        self, history: dict[str, Any], user: dict[str, Any] | None, text: Any | None, words: Any | None = None
    ) -> Any:
        """float32 [B, D] query vectors as they are served.

        Args:
            history: As `QueryTower.call`, vectors as `encode_items` gives them.
            user: As `QueryTower.call`.
            text: float32 [B, E] vectors of the query texts, or their `WishVectors`.
            words: string [B] query texts, of which a model that compares words makes a sketch; None = no texts.
        """
        wanted, unwanted = text if isinstance(text, WishVectors) else (text, None)
        wanted, unwanted = (part if part is None else self.projected(part) for part in (wanted, unwanted))
        full = history["vectors"]
        history = history | {"vectors": self.learned(full)}
        queries = self._normalized(self.query_tower(history, user, wanted, unwanted))
        parts = [queries]
        if self.sketch is not None:
            asked = tf.zeros([tf.shape(queries)[0], self.sketch.width])
            if words is not None:
                said = self.sketch.asked(split_wishes(words), self.config.query_text.unwanted_words)
                asked += self.config.model.lexical_weight * said
            if self.blend.history_words:
                asked += self.blend.history_words * self._words_of(full, history["mask"])
            parts.append(self.temperature * asked)
        if start := self.config.model.new_item_head_start:
            parts.append(query_flags(tf.shape(queries)[0], start * self.temperature))
        return tf.concat(parts, axis=1) if len(parts) > 1 else queries

    def _words_of(self, history: Any, mask: Any) -> Any:
        """float32 [B, S] sketches of the items of histories float32 [B, L, D], added up."""
        width = self.config.model.embedding_dim
        sketches = history[..., width : width + self.config.model.lexical_width]
        return tf.einsum("bl,bls->bs", recency(mask, self.blend.words_half_life), sketches)

    def learned(self, vectors: Any) -> Any:
        """The part of float32 [..., D] vectors that the towers made, without what stands behind."""
        return vectors[..., : self.config.model.embedding_dim] if self.appends else vectors

    @property
    def appends(self) -> bool:
        """Whether something stands behind the learned vectors."""
        return self.sketch is not None or self.config.model.new_item_head_start > 0

    def retrieval_scores(self, queries: Any, items: Any) -> Any:
        """float32 [B, N] from float32 [B, D] query vectors and float32 [N, D] item vectors."""
        return tf.matmul(queries, items, transpose_b=True) / self.temperature

    def ranking_scores(
        self, queries: Any, history: dict[str, Any], items: Any, rows: Any, blend: Blend | None = None
    ) -> Any:
        """Scores of candidates by all that the model knows of them: higher is better.

        Args:
            queries: float32 [B, D] query vectors.
            history: "vectors" float32 [B, L, D], "mask" bool [B, L], "items" int32 [B, L] catalogue rows, -1 = padding.
            items: float32 [B, N, D] item vectors.
            rows: int32 [B, N] catalogue rows of the items.
            blend: How much the correction and the neighbours count; by default as it was chosen after training.

        Returns:
            float32 [B, N].
        """
        blend = blend or self.blend
        past, learned = self.learned(history["vectors"]), self.learned(items)
        scale = tf.gather(self.known_catalogue.scale, rows)
        scores = self.ranking_head(
            self.learned(queries),
            past,
            history["mask"],
            learned,
            scale,
            strength=blend.correction,
            training=False,
        )[0]
        if blend.neighbours:
            scores += blend.neighbours * self._neighbour_scores(history["items"], rows, blend.half_life)
        return scores + self._appended_scores(queries, items) if self.appends else scores

    def _neighbour_scores(self, history: Any, rows: Any, half_life: float | None) -> Any:
        if self.neighbours is None:
            raise RuntimeError("Set `model.neighbours` first.")
        numbers = self.known_catalogue.inputs[ID]
        past = tf.where(history >= 0, tf.gather(numbers, tf.maximum(history, 0)), 0)
        return neighbour_scores(*self.neighbours, past, tf.gather(numbers, rows), half_life)

    def _appended_scores(self, queries: Any, items: Any) -> Any:
        """float32 [B, N] what stands behind the learned vectors adds to the scores of items float32 [B, N, D]."""
        width = self.config.model.embedding_dim
        return tf.einsum("bd,bnd->bn", queries[:, width:], items[..., width:]) / self.temperature

    def train_step(self, data: dict[str, Any]) -> dict[str, Any]:
        """One step of Keras' fit.

        Args:
            data: "items" int32 [B, L] catalogue rows, -1 = padding on the right; "predicted" bool [B, L]; "values"
                float32 [B, L]; "user" what `FeatureLookup` gives, [B, ...]; optionally "timestamps" int64 [B, L],
                "events" int32 [B, L] and "read" int32 [B, L], the rows to read instead of "items", -1 = an unknown one.
        """
        tower = self._learning_texts
        with tf.GradientTape() as tape:
            losses = self.losses_of(data)
            total = tf.add_n([self.loss_weights[name] * value for name, value in losses.items()])
            scaled = self.optimizer.scale_loss(total)
        variables = self.trainable_variables
        taught = [variable.value for variable in tower.bert.variables] if tower is not None else []
        slopes, text_slopes = tape.gradient(scaled, [variables, taught])
        self.optimizer.apply_gradients(zip(slopes, variables, strict=True))
        if tower is not None:
            tower.learn(text_slopes)
        self._total_mean.update_state(replicas.total(total))
        for name, value in losses.items():
            self._loss_means[name].update_state(replicas.total(value))
        return {metric.name: metric.result() for metric in self.metrics}

    def losses_of(self, data: dict[str, Any]) -> dict[str, Any]:
        """Every loss of a batch by name, unweighted."""
        catalogue, settings = self.known_catalogue, self.config.retrieval
        taking_part = len(catalogue) if self.config.long_tail.cold_negatives else self.spec.trained_items
        items = replicas.gathered(data["items"])
        step = StepQueries.chosen(
            items,
            replicas.gathered(data["predicted"]),
            rows=tf.shape(data["items"])[0],
            limit=settings.queries_per_step,
            seeds=self._seeds,
            fixed=self.config.fixed_shapes,
        )
        targets = step.targets
        pool = candidate_set(
            items,
            catalogue.share,
            self._seeds,
            uniform=taking_part if settings.softmax == "full" else settings.uniform_negatives,
            popular=0 if settings.softmax == "full" else settings.popularity_negatives,
            fixed=self.config.fixed_shapes,
            size=taking_part,
            also=replicas.gathered(data["read"]) if "read" in data else None,
        )
        asked = self._asked(targets, catalogue)
        inputs, text = self._inputs(pool.ids, targets, asked, catalogue)
        vectors = self._normalized(self.item_tower(self._item_inputs(inputs), training=True))
        history = self._history(data, vectors, pool)
        states = self.query_tower.states(history, training=True)
        queries, known = self._queries(states, step.places, text, asked, data.get("user"))
        task = (queries / self.temperature, targets, vectors, pool, catalogue.share, step, catalogue.tail)
        losses = {"retrieval_loss": self._retrieval(*task)}
        if settings.adversarial_weight:
            losses["adversarial_loss"] = self._retrieval.adversarial(*task)
        if self._ranks:
            ranking = (data, step, known, queries, vectors, history, pool, catalogue)
            losses.update(self._ranking(*ranking, self.retrieval_scores))
        return losses

    def _normalized(self, vectors: Any) -> Any:
        cosine = self.config.retrieval.similarity == "cosine"
        return tf.math.l2_normalize(vectors, axis=-1) if cosine else vectors

    def _history(self, data: dict[str, Any], vectors: Any, pool: Candidates) -> dict[str, Any]:
        read = data.get("read", data["items"])
        gathered = tf.gather(vectors, pool.rows_of(tf.maximum(read, 0)))
        history = {
            "vectors": gathered * tf.cast(read >= 0, tf.float32)[:, :, tf.newaxis],
            "mask": data["items"] >= 0,
        }
        return history | {name: data[name] for name in ("timestamps", "events") if name in data}

    @property
    def _learning_texts(self) -> TextTower | None:
        """The text tower if this step teaches it."""
        return self.text_tower if self.text_tower is not None and self.text_tower.learning else None

    def _asked(self, targets: Any, catalogue: CatalogueTables) -> AskedTexts | None:
        """Draws the queries that have a text, and which; None in a model without text queries."""
        if not self.query_tower.text_width:
            return None
        views = int(catalogue.query_views.shape[1])
        return AskedTexts.drawn(self.config.query_text, tf.shape(targets)[0], views, self._seeds)

    def _inputs(
        self, ids: Any, targets: Any, asked: AskedTexts | None, catalogue: CatalogueTables
    ) -> tuple[dict[str, Any], Any]:
        """Inputs of the item tower for catalogue rows, and float32 [Q, (2,) E] text vectors of the queries."""
        tower = self._learning_texts
        if tower is None:
            inputs = _rows(catalogue.inputs, ids)
            if catalogue.variants is not None:
                inputs[TEXT] = catalogue.variants.drawn(ids, inputs[TEXT], self._seeds)
            return inputs, None if asked is None else asked.vectors(targets, catalogue.query_views)
        rest = {name: value for name, value in catalogue.inputs.items() if name != TEXT}
        items, text = tower.of_step(ids, targets, asked)
        return _rows(rest, ids) | {TEXT: items}, text

    def _item_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs | {TEXT: self.projected(inputs[TEXT])} if TEXT in inputs else inputs

    def _queries(
        self, states: Any, chosen: Any, text: Any, asked: AskedTexts | None, user: Any
    ) -> tuple[Any, Any]:
        """Query vectors before each target, some with a text query, of those some without history.

        Returns:
            float32 [Q, D], and int32 [Q] how many events of the history each query knows.
        """
        users = (
            None if user is None else {name: tf.gather(value, chosen[:, 0]) for name, value in user.items()}
        )
        if asked is not None:
            text = self.projected(text)
            hidden = chosen * tf.constant([[1, 0]], chosen.dtype)
            chosen = tf.where(asked.alone[:, tf.newaxis], hidden, chosen)
        queries = self.query_tower.combine(tf.gather_nd(states, chosen), users, text, training=True)
        return self._normalized(queries), chosen[:, 1]


def _rows(inputs: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: tf.gather(value, rows) for name, value in inputs.items()}
