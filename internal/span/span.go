// Package span marks the steps of a request for OpenTelemetry. There is no
// tracer to be set: a step is below the span that its context carries, and goes
// where that goes. A context without one costs a look and allocates nothing.
//
//	ctx, s := span.Start(ctx, "images.mounts")
//	mounts, err := e.images.Mounts(ctx, id)
//	s.End(err)
package span

import (
	"context"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name under which our spans are told of.
const Scope = "github.com/engine-lite/engine-lite"

// Span is a step that has begun. The zero value is one that nobody records.
type Span struct{ span trace.Span }

// Start begins a step below the span in ctx. Of the context that it returns
// further steps are below this one. The caller ends the span.
func Start(ctx context.Context, name string) (context.Context, Span) {
	parent := Of(ctx)
	if parent == nil {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(Scope).Start(ctx, name)
	return ctx, Span{s}
}

// End ends the step, and tells of its error where there is one.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Of returns the span that ctx carries, for a goroutine that goes on with its
// work under a context of its own, see Within. It may have ended: what a request
// leaves to the background is told of below it. Nil where nobody records it.
func Of(ctx context.Context) trace.Span {
	if s := trace.SpanFromContext(ctx); s.SpanContext().IsSampled() {
		return s
	}
	return nil
}

// Within returns ctx with a span that Of returned.
func Within(ctx context.Context, s trace.Span) context.Context {
	if s == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s)
}
