// Package otlpfile records spans in a file, one line of OTLP's JSON for each
// batch (OpenTelemetry protocol, "File Exporter"), which any collector reads.
// Several processes may write to one file.
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

// Tracer begins spans and has them written. Nil is one that is switched off. Its
// goroutine, which writes the batches, ends with Close.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Open begins to record for a service, at the end of the file at path, which is
// made with mode 0600 if it is missing. An empty path switches tracing off.
func Open(path, service string) (*Tracer, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the trace: %w", err)
	}
	// Not the SDK's detectors: they would look up users and hosts.
	provider := sdk.NewTracerProvider(sdk.WithBatcher(&exporter{file: file, service: service}), sdk.WithSampler(sdk.AlwaysSample()))
	return &Tracer{provider: provider, tracer: provider.Tracer(span.Scope)}, nil
}

// Begin begins a span of a request, below the one that the header names as
// W3C's trace context has it, if it names one. The function ends it.
func (t *Tracer) Begin(ctx context.Context, name string, header http.Header) (context.Context, func()) {
	if t == nil {
		return ctx, func() {}
	}
	ctx, s := t.tracer.Start(propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header)), name)
	return ctx, func() { s.End() }
}

// closeTimeout bounds the writing of the last batch.
const closeTimeout = 5 * time.Second

// Close writes what is left and closes the file.
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

// ExportSpans writes a batch in one write, so that lines of several processes
// don't mix.
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
