# An image for clusters; docs/cluster.md says how to build it and start it. It brings a compiler, because the C++ is
# compiled for the processor that it runs on, and .git, because a run records its commit.
FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git libegl1 libopengl0 libgl1-mesa-dri libosmesa6 \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/droq_exp
WORKDIR /opt/droq_exp
COPY . .
RUN pip install --no-cache-dir -c constraints.txt -e .
WORKDIR /work
ENTRYPOINT ["droq-exp-train"]
