# onoma serve with the model in data/onnx (made by `dvc repro`), by ONNX Runtime, without torch:
#   docker build --tag onoma . && docker run --rm --publish 127.0.0.1:8000:8000 onoma
FROM python:3.11-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY constraints.txt pyproject.toml setup.py README.md LICENSE onoma.py ./
COPY stages stages
RUN pip install --constraint constraints.txt '.[serve]'
COPY data/onnx data/onnx
USER 65534:65534
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
CMD ["onoma", "serve", "--host", "0.0.0.0"]
