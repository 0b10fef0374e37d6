# The image of the tidewheel program, all roles of it: `docker build .` or `buildah bud .`
#
# Where no registry can be reached, a program that was compiled before takes the place of the first stage; `make image` does this:
#
#   scripts/image-root.sh target/release/tidewheel files/image
#   buildah bud --build-context build=files .
FROM docker.io/library/rust:1.95.0-bookworm AS build
# The compiler that is in the image: rust-toolchain.toml also asks for what is of no use here, and rustup would download it.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package tidewheel \
    && scripts/image-root.sh target/release/tidewheel /image

FROM scratch
COPY --from=build /image/ /
# By number: a pod that may not run as root is judged by it.
USER 65532:65532
ENTRYPOINT ["/usr/bin/tidewheel"]
