# codivide with a CPU build of PyTorch; docs/howto/serve.md says how to run it.
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY codivide codivide
# The versions that were tested, without those of the GPU, which a CPU build does not ask for.
RUN grep -v -E "^(nvidia-|cuda-|triton)" constraints.txt > cpu.txt \
 && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c cpu.txt .

# Any user may run it (--user), also one that the container does not know: what is kept lies where all may write.
ENV HOME=/tmp LOGNAME=codivide CODIVIDE_CACHE=/tmp/codivide
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["codivide"]
CMD ["--help"]
