# The image of KRM: API, workers and collector; which of them, its arguments say.
#   docker build -t registry.example/kubernetes-resource-monitor:2.0.0 .
# Pin both bases by digest where you build: --build-arg BUILD=python:3.11-slim-bookworm@sha256:... --build-arg BASE=...
ARG BUILD=python:3.11-slim-bookworm
ARG BASE=gcr.io/distroless/python3-debian12:nonroot

FROM ${BUILD} AS build
WORKDIR /src
COPY requirements requirements
COPY deploy/image/install.sh deploy/image/install.sh
COPY pyproject.toml README.md LICENSE ./
COPY krm krm
COPY krm_client krm_client
RUN sh deploy/image/install.sh /opt/krm

# No shell, no package manager; the same Python 3.11 of the same Debian.
FROM ${BASE}
COPY --from=build /opt/krm /opt/krm
ENV PYTHONPATH=/opt/krm PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["python3", "-m", "krm"]
CMD ["--help"]
