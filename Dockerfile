# An image with everything that a node of a cluster needs:  docker build -t fake-image-study .
# tests/commands/test_image.py runs its RUN lines in an empty folder. KubeRay
# needs ray[default]. For GPUs add the wheels of PyTorch that fit the driver.
FROM python:3.12-slim
WORKDIR /app
COPY . .
RUN python -m pip install --no-cache-dir -c constraints.txt . 'ray[default]'
RUN python -m study --version && python -m study.ls presets
ENTRYPOINT ["python", "-m"]
