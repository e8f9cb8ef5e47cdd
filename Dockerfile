# metaft on CPUs, at the pinned versions:
#   docker build -t metaft .
#   docker run --rm -v "$PWD:/data" metaft predict zoo:protonet-omniglot-5way --support known --query inbox
# Where torch comes with CUDA, name an index of its CPU builds: --build-arg PIP_EXTRA_INDEX_URL=…
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
# Compiled kernels make training quicker.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/metaft
COPY setup.cfg pyproject.toml constraints.txt MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff CONTRIBUTING.md ./
COPY metaft metaft
RUN pip install --no-cache-dir -c constraints.txt '.[text,timm,export]'
WORKDIR /data
ENTRYPOINT ["metaft"]
