# A worker image for Dataflow, Flink and Spark: Beam's own SDK harness plus this distribution.
#
#     docker build -f beam_pipelines/worker.Dockerfile -t REGISTRY/twotower-worker .
#
# Beam's version in the image must be the one that submits the job; see docs/running-on-dataflow-flink-spark.md.
ARG BEAM_VERSION=2.77.0
ARG PYTHON_VERSION=3.11
FROM apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}
COPY pyproject.toml README.md LICENSE twotower.py /twotower/
COPY beam_pipelines /twotower/beam_pipelines
COPY trainer/__init__.py /twotower/trainer/__init__.py
COPY serving/__init__.py /twotower/serving/__init__.py
RUN pip install --no-cache-dir "/twotower[beam]"
