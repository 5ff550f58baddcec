.PHONY: help build check test integration
help:
	@echo 'make build        programs into bin/'
	@echo 'make check        format, vet, lint and its rules'
	@echo 'make test         unit tests, a few minutes'
	@echo 'make integration  everything: hack/test'
build:
	hack/build
check:
	hack/test format vet lint lint-rules
test:
	go test -race -shuffle=on $$(go list ./... | grep -v /tests$$)
integration:
	hack/test
