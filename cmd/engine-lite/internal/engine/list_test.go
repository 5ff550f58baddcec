package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/containers"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

func TestContainerList(t *testing.T) {
	r := newRig(t)
	a := r.run("alpha", "sleep 1000", func(req *container.CreateRequest) { req.Labels = map[string]string{"k": "v"} })
	b := r.run("beta", "exit 3")
	c := r.create("gamma", "exit 0")
	r.ended(b)
	names := map[string]string{a: "a", b: "b", c: "c"}
	for want, opts := range map[string]ListOptions{
		"a":     {},
		"cba":   {All: true},
		"cb":    {Limit: 2},
		"b":     {Filters: filters.Filters{"exited": {"3"}}},
		"":      {Filters: filters.Filters{"exited": {"4"}}},
		"c":     {Filters: filters.Filters{"status": {"created"}}},
		"ca":    {Filters: filters.Filters{"status": {"created", "running"}}},
		"a ":    {Filters: filters.Filters{"label": {"k=v"}}},
		"b ":    {All: true, Filters: filters.Filters{"name": {"^/bet"}}},
		"b  ":   {All: true, Filters: filters.Filters{"name": {"et"}}},
		"c ":    {Filters: filters.Filters{"since": {"beta"}}},
		"a  ":   {Filters: filters.Filters{"before": {b}}},
		"cba ":  {All: true, Filters: filters.Filters{"ancestor": {"box"}}},
		" ":     {All: true, Filters: filters.Filters{"ancestor": {"nosuch"}}},
		"cb ":   {All: true, Filters: filters.Filters{"id": {b[:20], c[:20]}}},
		"  ":    {All: true, Filters: filters.Filters{"volume": {"v"}}},
		"cba  ": {All: true, Filters: filters.Filters{"network": {"none"}}},
	} {
		list, err := r.e.ContainerList(t.Context(), opts)
		must(t, err)
		got := ""
		for _, s := range list {
			got += names[s.ID]
		}
		for len(want) > 0 && want[len(want)-1] == ' ' {
			want = want[:len(want)-1]
		}
		if got != want {
			t.Errorf("%+v: %q, not %q", opts, got, want)
		}
	}
	for filter, is := range map[string]func(error) bool{
		"nope=x": errdefs.IsInvalidArgument, "name=(": errdefs.IsInvalidArgument,
		"status=x": errdefs.IsInvalidArgument, "exited=x": errdefs.IsInvalidArgument, "before=x": errdefs.IsNotFound,
	} {
		name, value, _ := strings.Cut(filter, "=")
		if _, err := r.e.ContainerList(t.Context(), ListOptions{Filters: filters.Filters{name: {value}}}); !is(err) {
			t.Errorf("%s: %v", filter, err)
		}
	}
}

func BenchmarkContainerList(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := &Engine{registry: containers.NewRegistry()}
			for i := range n {
				r := &record.Record{
					ID: fmt.Sprintf("%064x", i), Name: fmt.Sprint("c", i), Version: 1, Created: time.Now(),
					Status: record.StatusRunning,
					Config: &record.Config{}, HostConfig: &record.HostConfig{}, Path: "sh",
				}
				e.registry.Add(containers.New(nil, r), r.Name)
			}
			for b.Loop() {
				if list, err := e.ContainerList(b.Context(), ListOptions{All: true}); err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
