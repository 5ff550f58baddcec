package otlpfile

import (
	"os"
	"strconv"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Batch is one line of the file: the parts of OTLP's TracesData that we use.
type Batch struct {
	ResourceSpans []ResourceSpans `json:"resourceSpans"`
}

// ResourceSpans are the spans of one process.
type ResourceSpans struct {
	Resource   Resource     `json:"resource"`
	ScopeSpans []ScopeSpans `json:"scopeSpans"`
}

// Resource names a process by its attributes.
type Resource struct {
	Attributes []Attribute `json:"attributes"`
}

// Attribute is a key with a value.
type Attribute struct {
	Key   string `json:"key"`
	Value Value  `json:"value"`
}

// Value is a text, or a number, which OTLP's JSON has as decimal digits.
type Value struct {
	Text   string `json:"stringValue,omitempty"`
	Number string `json:"intValue,omitempty"`
}

// ScopeSpans are spans of one library.
type ScopeSpans struct {
	Scope Scope  `json:"scope"`
	Spans []Span `json:"spans"`
}

// Scope names a library.
type Scope struct {
	Name string `json:"name"`
}

// Span is one step. Its times are nanoseconds since 1970, its ids hexadecimal.
type Span struct {
	Trace  string `json:"traceId"`
	ID     string `json:"spanId"`
	Parent string `json:"parentSpanId,omitempty"`
	Name   string `json:"name"`
	Kind   int    `json:"kind"`
	Start  string `json:"startTimeUnixNano"`
	End    string `json:"endTimeUnixNano"`
	Status Status `json:"status"`
}

// Status is empty for a step that succeeded.
type Status struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
}

// The numbers of OTLP's enumerations.
const (
	kindInternal = 1
	statusError  = 2
)

func encode(service string, spans []sdk.ReadOnlySpan) Batch {
	byScope := map[string]int{}
	var scopes []ScopeSpans
	for _, s := range spans {
		name := s.InstrumentationScope().Name
		i, ok := byScope[name]
		if !ok {
			i = len(scopes)
			byScope[name] = i
			scopes = append(scopes, ScopeSpans{Scope: Scope{Name: name}})
		}
		scopes[i].Spans = append(scopes[i].Spans, encodeSpan(s))
	}
	return Batch{ResourceSpans: []ResourceSpans{{
		Resource: Resource{Attributes: []Attribute{
			{"service.name", Value{Text: service}}, {"process.pid", Value{Number: strconv.Itoa(os.Getpid())}},
		}},
		ScopeSpans: scopes,
	}}}
}

func encodeSpan(s sdk.ReadOnlySpan) Span {
	e := Span{
		Trace: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
		Name: s.Name(), Kind: kindInternal,
		Start: strconv.FormatInt(s.StartTime().UnixNano(), 10), End: strconv.FormatInt(s.EndTime().UnixNano(), 10),
	}
	if s.Parent().SpanID().IsValid() {
		e.Parent = s.Parent().SpanID().String()
	}
	if s.Status().Code == codes.Error {
		e.Status = Status{Message: s.Status().Description, Code: statusError}
	}
	return e
}

// Spans returns all spans of the batch.
func (b Batch) Spans() []Span {
	var all []Span
	for _, r := range b.ResourceSpans {
		for _, s := range r.ScopeSpans {
			all = append(all, s.Spans...)
		}
	}
	return all
}
