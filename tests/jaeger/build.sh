#!/usr/bin/env bash
# Build Jaeger from its Go module, once, into a cache folder outside the repository, and print
# the binary's path. Where it has been built before, nothing is built or downloaded.
#
# JTASK_JAEGER_CACHE is that folder, JTASK_JAEGER_JOBS how many packages are compiled at once. Cold,
# one at a time at the lowest priority, it took 11 minutes of CPU time; the binary has 81 MB.
set -euo pipefail

# The last release of Jaeger that Go's module path can name: v1.76.0 holds cmd/jaeger, which is
# Jaeger v2.13. (Tags from v2 on do not go with a module path without /v2.)
VERSION=v1.76.0
MODULE=github.com/jaegertracing/jaeger

cache=${JTASK_JAEGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jtask/jaeger}
binary=$cache/$VERSION/jaeger

if [ ! -x "$binary" ]; then
    command -v go >/dev/null || { echo "Building Jaeger needs Go, and there is no 'go' here." >&2; exit 1; }
    echo "Building $MODULE/cmd/jaeger@$VERSION into $cache: minutes, the first time." >&2
    mkdir -p "$cache"
    # Moved into place whole, so that a build that was cut off is never taken for a finished one.
    staging=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    # A module of its own that asks for Jaeger's: 'go install' refuses a go.mod with replacements.
    export GOFLAGS="-p=${JTASK_JAEGER_JOBS:-1} -trimpath -mod=mod" GOWORK=off
    (
        cd "$staging"
        go mod init build
        go get "$MODULE/cmd/jaeger@$VERSION"
        nice -n 19 go build -ldflags "-s -w" -o jaeger "$MODULE/cmd/jaeger"
    ) >&2
    mkdir -p "$cache/$VERSION"
    mv "$staging/jaeger" "$binary"
fi
echo "$binary"
