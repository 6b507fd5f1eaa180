# syntax=docker/dockerfile:1.7

# Two targets, `cpu` (the default) and `cuda`:
#   docker build --build-arg TORCH_INDEX=URL -t solomon:0.1.0-cpu .     URL: the index of torch's CPU builds
#   docker build --target cuda -t solomon:0.1.0-cuda .
# The image runs as user 10001, writes to /data, /cache and /tmp only, and needs no network if BAKE=true:
#   docker run --read-only --tmpfs /tmp -v data:/data -p 8080:8080 --stop-timeout 70 \
#     -e SOLOMON_API_KEYS=... solomon:0.1.0-cpu
# Stopping takes up to 70 s: 5 to drain, 30 for calls in flight, 3 to hand back, and the snapshots; docker's own
# 10 s would kill it before.
# Large layers come first and change least: dependencies, base weights, Solomon itself.

ARG PYTHON_VERSION=3.11.13

# hadolint global ignore=DL3013,DL3042
FROM python:${PYTHON_VERSION}-slim-bookworm AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml constraints.txt ./
# The dependencies alone, so that a change of Solomon's own files does not install them again.
ARG EXTRAS="milvus otel"
RUN python -c "import tomllib, os; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = project['optional-dependencies']; \
print('\n'.join(project['dependencies'] + [one for name in os.environ['EXTRAS'].split() for one in extras[name]]))" \
    > requirements.txt

# What is compiled: a CPU's kernels, and what a search does around FAISS. Only this stage has a compiler, which its larger base brings.
FROM python:${PYTHON_VERSION}-bookworm AS kernels
WORKDIR /build
RUN pip install --no-cache-dir "setuptools>=77"
COPY pyproject.toml README.md LICENSE ./
COPY model/kernels/ model/kernels/
COPY index/compiled.c index/
RUN python -c "import setuptools; setuptools.setup()" build_ext --inplace && ls model/kernels/*.so index/*.so

FROM environment AS cpu-dependencies
# Without it the machine's default index gives a torch with CUDA's libraries, gigabytes that go unused.
ARG TORCH_INDEX=""
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt -r requirements.txt

FROM environment AS cuda-dependencies
RUN pip install -c constraints.txt -r requirements.txt

# The base weights of solomon-mini, baked in (BAKE=true), or fetched at the first start, for which
# SOLOMON_CACHE_DIR=/cache has to be set.
FROM cpu-dependencies AS cpu-weights
ARG BAKE=true
ENV SOLOMON_CACHE_DIR=/opt/weights
COPY model/ model/
RUN mkdir -p /opt/weights && if [ "$BAKE" = true ]; then \
      python -c "from model.mini_base import ensure_mini_base; ensure_mini_base()" && rm -f /opt/weights/*.gguf; \
    fi

FROM cuda-dependencies AS cuda-weights
ARG BAKE=true
ENV SOLOMON_CACHE_DIR=/opt/weights
COPY model/ model/
RUN mkdir -p /opt/weights && if [ "$BAKE" = true ]; then \
      python -c "from model.mini_base import ensure_mini_base; ensure_mini_base()" && rm -f /opt/weights/*.gguf; \
    fi

FROM python:${PYTHON_VERSION}-slim-bookworm AS runtime
RUN groupadd --gid 10001 solomon \
    && useradd --uid 10001 --gid solomon --no-create-home --home-dir /tmp --shell /usr/sbin/nologin solomon \
    && install -d -o solomon -g solomon /data /cache
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface \
    SOLOMON_CACHE_DIR=/opt/weights \
    SOLOMON_DATA_DIR=/data \
    SOLOMON_HOST=0.0.0.0 \
    SOLOMON_PORT=8080 \
    SOLOMON_DRAIN_SECONDS=5
WORKDIR /app
EXPOSE 8080
VOLUME ["/data", "/cache"]
# A first start may fetch and build the base; after that, unready for a minute and a half is unhealthy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20m --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['SOLOMON_PORT']}/readyz\", timeout=4)"]
ENTRYPOINT ["solomon"]
CMD ["serve"]

FROM runtime AS cuda
COPY --from=cuda-dependencies /opt/venv /opt/venv
COPY --from=cuda-weights /opt/weights /opt/weights
COPY pyproject.toml README.md LICENSE ./
COPY index/ index/
COPY service/ service/
COPY model/ model/
RUN pip install --no-cache-dir --no-deps -e . && python -m compileall -q /app
COPY --from=kernels /build/model/kernels/ model/kernels/
COPY --from=kernels /build/index/ index/
USER 10001:10001

FROM runtime AS cpu
COPY --from=cpu-dependencies /opt/venv /opt/venv
COPY --from=cpu-weights /opt/weights /opt/weights
COPY pyproject.toml README.md LICENSE ./
COPY index/ index/
COPY service/ service/
COPY model/ model/
RUN pip install --no-cache-dir --no-deps -e . && python -m compileall -q /app
COPY --from=kernels /build/model/kernels/ model/kernels/
COPY --from=kernels /build/index/ index/
USER 10001:10001
