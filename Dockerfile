# The runtime of harken: no training framework. Build and start:
#
#   docker build -t harken .
#   docker run --rm -p 127.0.0.1:8000:8000 harken serve
#   docker run --rm -p 10400:10400 -v ./wake-words:/models:ro harken wyoming --custom-model-dir /models

ARG PYTHON=3.12-slim

FROM python:${PYTHON} AS build
WORKDIR /source
# Without pip, the image is 22 MB smaller.
RUN python -m venv --without-pip /opt/harken
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip --python /opt/harken install --no-cache-dir ".[serve,wyoming]"

FROM python:${PYTHON}
COPY --from=build /opt/harken /opt/harken
COPY docker/health.py /opt/harken/health.py
# HARKEN_HOST: inside of a container, 127.0.0.1 could not be reached from outside.
# The other values keep the program from writing outside of /tmp, so that the file system can be read-only.
ENV PATH=/opt/harken/bin:$PATH \
    HARKEN_HOST=0.0.0.0 \
    HARKEN_CACHE=/tmp/harken \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000 10400
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "/opt/harken/health.py"]
ENTRYPOINT ["harken"]
CMD ["serve"]
