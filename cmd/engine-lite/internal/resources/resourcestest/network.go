package resourcestest

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/resources"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/internal/classed"
	"github.com/engine-lite/engine-lite/journal"
)

// Kernel has the ports of a host, each with the name of its holder. It outlives the engine.
type Kernel struct {
	mu    sync.Mutex
	ports map[string]string
}

// NewKernel returns a kernel whose ports are all free.
func NewKernel() *Kernel { return &Kernel{ports: map[string]string{}} }

// Holders counts the ports by holder.
func (k *Kernel) Holders() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := map[string]int{}
	for _, h := range k.ports {
		n[h]++
	}
	return n
}

// take takes ports, or none of them.
func (k *Kernel) take(ports []string, h resources.Holder) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, port := range ports {
		if by, taken := k.ports[port]; taken {
			return classed.Errorf(errdefs.ErrConflict, "port %s is taken by %s", port, by)
		}
	}
	for _, port := range ports {
		k.ports[port] = h.String()
	}
	return nil
}

// give gives back the ports of all holders that gone returns true for.
func (k *Kernel) give(gone func(h resources.Holder) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.ports, func(_, by string) bool {
		h, ok := resources.ParseHolder(by)
		return ok && gone(h)
	})
}

// Network is a provider of ports: a container's label "ports" has them, with commas between. It keeps nothing in memory.
type Network struct {
	Kernel *Kernel
	// BeforeFree is called at the beginning of each Free; nil for nothing.
	BeforeFree func(h resources.Holder)
}

var _ resources.Provider = (*Network)(nil)

func (n *Network) Kind() string { return "ports" }

func portsOf(r *record.Record) []string {
	return strings.FieldsFunc(r.Config.Labels["ports"], func(c rune) bool { return c == ',' })
}

// Reserve refuses a container that wants a port without a number.
func (n *Network) Reserve(_ *store.Tx, r *record.Record) error {
	for _, port := range portsOf(r) {
		if strings.Trim(port, "0123456789") != "" {
			return classed.Errorf(errdefs.ErrInvalidArgument, "invalid port %q", port)
		}
	}
	return nil
}

func (n *Network) Forget(*store.Tx, *record.Record) error { return nil }

func (n *Network) Forgotten(context.Context, *record.Record) error { return nil }

func (n *Network) Acquire(_ context.Context, r *record.Record, h resources.Holder) (resources.Contribution, error) {
	if h.Lease != "" {
		return resources.Contribution{}, nil
	}
	return resources.Contribution{}, n.Kernel.take(portsOf(r), h)
}

func (n *Network) Started(tx *store.Tx, r *record.Record) error {
	n.tell(tx, r, "connect")
	return nil
}

func (n *Network) Ended(tx *store.Tx, r *record.Record) error {
	n.tell(tx, r, "disconnect")
	return nil
}

func (n *Network) tell(tx *store.Tx, r *record.Record, action string) {
	if len(portsOf(r)) > 0 {
		tx.Append(journal.Event{Type: "network", Action: action, ID: "fake", Attributes: map[string]string{"container": r.ID}})
	}
}

func (n *Network) Free(_ context.Context, h resources.Holder) error {
	if n.BeforeFree != nil {
		n.BeforeFree(h)
	}
	n.Kernel.give(func(by resources.Holder) bool { return by == h })
	return nil
}

func (n *Network) Dispose(context.Context, resources.Holder) error { return nil }

func (n *Network) Adopt(context.Context, *record.Record, resources.Holder) error { return nil }

func (n *Network) Sweep(_ context.Context, alive func(resources.Holder) bool) error {
	n.Kernel.give(func(by resources.Holder) bool { return !alive(by) })
	return nil
}
