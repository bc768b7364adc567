# codivide with a CPU build of PyTorch; docs/howto/serve.md says how to run it.
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY codivide codivide
# The versions that were tested, without those of the GPU, which a CPU build does not ask for.
RUN grep -v -E "^(nvidia-|cuda-|triton)" constraints.txt > cpu.txt \
 && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c cpu.txt . \
 && useradd --create-home codivide

USER codivide
ENV CODIVIDE_CACHE=/home/codivide/cache
WORKDIR /data
ENTRYPOINT ["codivide"]
CMD ["--help"]
