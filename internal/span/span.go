// Package span marks the steps of a request for OpenTelemetry. It has no tracer: a
// step is a child of the span in its context, and goes to the tracer of that span.
// Without a span in the context, Start costs one look-up and allocates nothing.
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

// Scope is OpenTelemetry's name for the library that our spans come from.
const Scope = "github.com/engine-lite/engine-lite"

// Span is a step that has begun. The zero value is a step that is not recorded.
type Span struct{ span trace.Span }

// Start begins a step below the span in ctx. Steps that begin with the context that
// it returns are below this step. The caller ends the span.
func Start(ctx context.Context, name string) (context.Context, Span) {
	parent := Of(ctx)
	if parent == nil {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(Scope).Start(ctx, name)
	return ctx, Span{s}
}

// End ends the step. If err isn't nil, the step has failed with it.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, err.Error())
	}
	s.span.End()
}

// Of returns the span in ctx, for a goroutine that goes on with the work under a
// context of its own, see Within. The span may have ended: the background work that
// a request leaves is below it. Of returns nil if ctx has no span that is recorded.
func Of(ctx context.Context) trace.Span {
	if s := trace.SpanFromContext(ctx); s.SpanContext().IsSampled() {
		return s
	}
	return nil
}

// Within returns ctx with a span that Of returned, which may be nil.
func Within(ctx context.Context, s trace.Span) context.Context {
	if s == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s)
}
