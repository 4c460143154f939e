# The two commands a newcomer needs: `make demo` and `make test`. Both install what they lack from Debian.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES    := openvswitch-switch nftables iproute2 ethtool tcpdump iputils-ping ca-certificates etcd-server gcc libc6-dev
BINARIES    := manager ncp host-agent edge-agent node-agent cni tierloomctl lab
FUZZTIME    ?= 20s
BENCH       ?=
export CGO_ENABLED ?= 1

.PHONY: all deps build test lint fuzz bench demo demo-down clean kube

all: build

# deps installs the Debian packages that the demo and the tests drive, when one is missing.
deps:
	@.ci/deps $(PACKAGES)

build:
	@mkdir -p bin
	cd examples && CGO_ENABLED=0 go build -trimpath -o ../bin/ $(addprefix ./,$(BINARIES))

test: deps
	go test -race -count=1 ./...
	cd examples && go test -race -count=1 ./...

# kube builds the Kubernetes API server that some tests run against: minutes the first time, seconds after. Without it they skip.
kube:
	cd examples/internal/kubetest/apiserver && CGO_ENABLED=0 go build -trimpath -o $(CURDIR)/bin/kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	cd examples && go vet ./...
	go run $(STATICCHECK) ./...
	cd examples && go run $(STATICCHECK) ./...

# fuzz runs every fuzz target of both modules for FUZZTIME each.
fuzz:
	@.ci/fuzz $(FUZZTIME)

# bench ends with one line a workload: name, ours, peer or floor, ratio, target, ok or short.
bench: deps
	@.ci/bench "$(BENCH)"

demo: deps build
	./bin/lab up --bin bin --picture bin/topology.svg $(if $(KEEP),--keep) $(if $(JSON),--json $(JSON)) $(if $(LOGS),--logs $(LOGS))

demo-down:
	./bin/lab down

clean:
	rm -rf bin
