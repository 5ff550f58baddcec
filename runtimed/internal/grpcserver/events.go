package grpcserver

import (
	"context"
	"fmt"
	"strings"

	api "github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/engine-lite/engine-lite/runtimed/internal/core"
)

// eventsAPI is containerd's events service.
type eventsAPI struct {
	api.UnimplementedEventsServer
	d      *core.Daemon
	daemon context.Context // ends when the daemon stops
}

// Subscribe sends the events of all namespaces that match any of the filters. The answer's header is sent once the
// subscription has begun: a client that waits for it misses nothing that happens afterwards. A subscriber that
// doesn't keep up gets ResourceExhausted.
func (a *eventsAPI) Subscribe(r *api.SubscribeRequest, stream api.Events_SubscribeServer) error {
	filter, err := filters.ParseAll(r.Filters...)
	if err != nil {
		return fmt.Errorf("bad filter: %w", err)
	}
	ctx, stop := untilStop(stream.Context(), a.daemon)
	defer stop()
	s := a.d.Subscribe()
	defer s.Close()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		queue, err := s.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range queue {
			if !filter.Match(e) {
				continue
			}
			if err := stream.Send(envelope(e)); err != nil {
				return err
			}
		}
	}
}

func envelope(e *events.Envelope) *types.Envelope {
	return &types.Envelope{
		Timestamp: timestamppb.New(e.Timestamp), Namespace: e.Namespace, Topic: e.Topic, Event: typeurl.MarshalProto(e.Event),
	}
}

// Publish sends an event of the request's namespace to all subscribers.
func (a *eventsAPI) Publish(ctx context.Context, r *api.PublishRequest) (*emptypb.Empty, error) {
	ns, err := namespaceOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := validTopic(r.Topic); err != nil {
		return nil, err
	}
	if r.Event == nil {
		return nil, fmt.Errorf("nothing to publish: %w", errdefs.ErrInvalidArgument)
	}
	return &emptypb.Empty{}, a.d.PublishAny(ns, r.Topic, r.Event)
}

// Forward sends an event that has its namespace and time already.
func (a *eventsAPI) Forward(_ context.Context, r *api.ForwardRequest) (*emptypb.Empty, error) {
	e := r.Envelope
	if e == nil || e.Event == nil || e.Timestamp == nil {
		return nil, fmt.Errorf("an envelope needs an event and a time: %w", errdefs.ErrInvalidArgument)
	}
	if err := core.ValidID("namespace", e.Namespace); err != nil {
		return nil, err
	}
	if err := validTopic(e.Topic); err != nil {
		return nil, err
	}
	a.d.Forward(&events.Envelope{Timestamp: e.Timestamp.AsTime(), Namespace: e.Namespace, Topic: e.Topic,
		Event: e.Event})
	return &emptypb.Empty{}, nil
}

// validTopic accepts "/part/part...", each part an id, as containerd does.
func validTopic(topic string) error {
	path, ok := strings.CutPrefix(topic, "/")
	if !ok {
		return fmt.Errorf("topic %q doesn't begin with a slash: %w", topic, errdefs.ErrInvalidArgument)
	}
	for part := range strings.SplitSeq(path, "/") {
		if err := core.ValidID("topic", part); err != nil {
			return err
		}
	}
	return nil
}
