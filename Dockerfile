# docker build -t aecodec . && docker run --rm -v "$PWD:/work" aecodec encode photos/ archive/ --recursive
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheels /source

FROM python:3.12-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir /wheels/*.whl pillow-heif pillow-jxl-plugin && useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["aecodec"]
