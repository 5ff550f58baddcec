// Package otlpfile writes spans to a file, one line of OTLP's JSON for each batch
// (OpenTelemetry protocol, "File Exporter"). Any collector reads such a file.
// Several processes may write to the same file.
package otlpfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/engine-lite/engine-lite/internal/span"
)

// Tracer begins spans and writes them. A nil Tracer is switched off. The goroutine
// that writes the batches ends with Close.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Open returns a tracer that appends the spans of a service to the file at path. It
// makes the file, with mode 0600, if it is missing. An empty path switches tracing
// off: the tracer is nil then. The caller closes the tracer.
func Open(path, service string) (*Tracer, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the trace: %w", err)
	}
	// The SDK's detectors are left out: they look up users and hosts.
	batches := sdk.WithBatcher(&exporter{file: file, service: service})
	provider := sdk.NewTracerProvider(batches, sdk.WithSampler(sdk.AlwaysSample()))
	return &Tracer{provider: provider, tracer: provider.Tracer(span.Scope)}, nil
}

// Begin begins the span of a request. If the header has a span (W3C Trace Context),
// the new span is below that one. The caller calls the returned function, which ends
// the span.
func (t *Tracer) Begin(ctx context.Context, name string, header http.Header) (context.Context, func()) {
	if t == nil {
		return ctx, func() {}
	}
	ctx, s := t.tracer.Start(propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header)), name)
	return ctx, func() { s.End() }
}

// closeTimeout is how long writing the last batch may take.
const closeTimeout = 5 * time.Second

// Close writes the spans that are not written yet and closes the file.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// exporter writes batches. The SDK calls it from one goroutine at a time.
type exporter struct {
	file    *os.File
	service string
}

// ExportSpans writes a batch by one call of write(2), so that lines of several
// processes do not mix.
func (e *exporter) ExportSpans(_ context.Context, spans []sdk.ReadOnlySpan) error {
	line, err := json.Marshal(encode(e.service, spans))
	if err != nil {
		return fmt.Errorf("cannot encode spans: %w", err)
	}
	if _, err := e.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("cannot write spans: %w", err)
	}
	return nil
}

// Shutdown closes the file.
func (e *exporter) Shutdown(context.Context) error {
	if err := e.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
