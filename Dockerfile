# Two stages: the first installs what a server needs, the second holds that, the server and the
# models. There is no training code in it, no compiler and no package index.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# gunicorn_h1c, the HTTP parser in C, comes as source alone. The compiler stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/serving.lock requirements/parser.lock /build/
# NumPy's and ONNX Runtime's tests and tools are a quarter of their size, and no server runs them.
RUN python -m venv --without-pip /opt/forwardpass \
 && pip --python /opt/forwardpass install --no-cache-dir --no-compile --require-hashes --no-deps \
        --requirement /build/serving.lock --requirement /build/parser.lock \
 && find /opt/forwardpass/lib -depth -type d -name tests -exec rm -r {} + \
 && find /opt/forwardpass/lib -name '*.pyi' -delete \
 && rm -r /opt/forwardpass/lib/python3*/site-packages/onnxruntime/quantization \
        /opt/forwardpass/lib/python3*/site-packages/onnxruntime/tools \
        /opt/forwardpass/lib/python3*/site-packages/onnxruntime/transformers
# Without serving/loadtest, the client that tests a server: see .dockerignore.
COPY serving /opt/forwardpass/app/serving
COPY models /models
# Readable for the server's user, whatever umask the files were checked out with.
RUN /opt/forwardpass/bin/python -m compileall -q /opt/forwardpass \
 && chmod -R a+rX /opt/forwardpass /models \
 && mkdir /state

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/forwardpass /opt/forwardpass
COPY --from=build /models /models
COPY --from=build --chown=10001:10001 /state /state
ENV PATH=/opt/forwardpass/bin:$PATH \
    PYTHONPATH=/opt/forwardpass/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    FORWARDPASS_HOST=0.0.0.0 \
    FORWARDPASS_PORT=8000 \
    FORWARDPASS_MODELS=/models \
    FORWARDPASS_STATE=/state/serving.json
USER 10001:10001
# 8080 with `serve`, as Amazon SageMaker starts it; AIP_HTTP_PORT where Google Vertex AI does.
EXPOSE 8000 8080
# With compose or run; the clouds, whose ports are others, ask by themselves.
# Asked every second, so it is made cheap: -S leaves out site, -I all that variables could add.
HEALTHCHECK --interval=1s --timeout=2s --start-period=10s --retries=5 \
    CMD ["python", "-IS", "/opt/forwardpass/app/serving/server/health_check.py"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["run"]
