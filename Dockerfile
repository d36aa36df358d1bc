# The image of a node: two static programs and their licences, nothing else. `make image` builds the programs and then this.
#
# The context is a folder with one tree for each architecture (scripts/image.sh makes it): amd64/, arm64/.
FROM scratch
ARG TARGETARCH
LABEL org.opencontainers.image.title="qres-swarm" \
      org.opencontainers.image.description="A node of a QRES swarm, which learns models together without a central server" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY ${TARGETARCH}/usr /usr
# Empty, and the user's own: a volume that is mounted here for the first time takes its owner over.
COPY --chown=65532:65532 ${TARGETARCH}/data /data
ENV PATH=/usr/bin QRES_DATA_DIR=/data/qres
USER 65532:65532
# The mesh (TCP and UDP) and gRPC.
EXPOSE 4001/tcp 4001/udp 4002/tcp
ENTRYPOINT ["/usr/bin/qres-daemon"]
