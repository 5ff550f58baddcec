package span_test

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/engine-lite/engine-lite/internal/span"
)

// recorded returns a context with a span, and what its tracer recorded.
func recorded(t *testing.T) (context.Context, func(), *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	ctx, root := sdk.NewTracerProvider(sdk.WithSpanProcessor(r)).Tracer("test").Start(t.Context(), "root")
	return ctx, func() { root.End() }, r
}

func TestStepsAreBelowEachOther(t *testing.T) {
	ctx, end, r := recorded(t)
	outer, a := span.Start(ctx, "a")
	_, b := span.Start(outer, "b")
	b.End(errors.New("broken"))
	a.End(nil)
	end()
	ended := r.Ended()
	if len(ended) != 3 {
		t.Fatalf("%d spans ended, not 3", len(ended))
	}
	inner, middle, root := ended[0], ended[1], ended[2]
	if inner.Parent().SpanID() != middle.SpanContext().SpanID() ||
		middle.Parent().SpanID() != root.SpanContext().SpanID() {
		t.Errorf("%s is not below %s, or that not below %s", inner.Name(), middle.Name(), root.Name())
	}
	if s := inner.Status(); s.Code != codes.Error || s.Description != "broken" {
		t.Errorf("status of the step that failed: %+v", s)
	}
	if s := middle.Status(); s.Code != codes.Unset {
		t.Errorf("status of the step that succeeded: %+v", s)
	}
}

// TestAfterTheRequest: the background work that a request leaves is below its span.
func TestAfterTheRequest(t *testing.T) {
	ctx, end, r := recorded(t)
	of := span.Of(ctx)
	end()
	_, late := span.Start(span.Within(context.Background(), of), "late")
	late.End(nil)
	ended := r.Ended()
	if len(ended) != 2 || ended[1].Parent().SpanID() != ended[0].SpanContext().SpanID() {
		t.Fatalf("spans: %v", ended)
	}
}

// TestFreeWhenOff: a step that is not recorded allocates nothing.
func TestFreeWhenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if n := testing.AllocsPerRun(100, func() { step(ctx) }); n != 0 {
		t.Errorf("a step without a tracer allocates %v times", n)
	}
}

func step(ctx context.Context) {
	ctx, s := span.Start(ctx, "step")
	_ = span.Within(ctx, span.Of(ctx))
	s.End(nil)
}

func BenchmarkOff(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		step(ctx)
	}
}
