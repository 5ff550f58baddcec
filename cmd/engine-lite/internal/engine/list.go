package engine

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/internal/classed"
)

var listFilters = []string{"ancestor", "before", "since", "exited", "id", "label", "annotation", "name", "status", "network", "volume", "publish", "expose", "health", "is-task", "isolation"}

// ContainerList lists containers, newest first. It never waits for a container. With Size, it walks their files.
func (e *Engine) ContainerList(ctx context.Context, opts ListOptions) ([]container.Summary, error) {
	if err := filters.Check(opts.Filters, listFilters); err != nil {
		return nil, err
	}
	keep, err := e.listFilter(ctx, opts)
	if err != nil {
		return nil, err
	}
	summaries := []container.Summary{}
	for _, r := range e.registry.Sorted() {
		if opts.Limit > 0 && len(summaries) == opts.Limit {
			break
		}
		if keep(r) {
			summaries = append(summaries, inspect.Summary(r, time.Now(), e.mountSource))
		}
	}
	if opts.Size {
		err = e.Usage.AddSizes(ctx, summaries)
	}
	return summaries, err
}

// Records returns the records of all containers, newest first. They are not to be written to.
func (e *Engine) Records() []*record.Record { return e.registry.Sorted() }

// listFilter makes the one test that a record has to pass.
func (e *Engine) listFilter(ctx context.Context, opts ListOptions) (func(r *record.Record) bool, error) {
	f := opts.Filters
	for _, s := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(s)); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'status=%s': %v", s, err)
		}
	}
	for _, s := range f["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(s)); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'health=%s': %v", s, err)
		}
	}
	exited, err := numbers(f["exited"])
	if err != nil {
		return nil, err
	}
	images, err := e.ancestors(ctx, f["ancestor"])
	if err != nil {
		return nil, err
	}
	names, err := namePatterns(f["name"])
	if err != nil {
		return nil, err
	}
	before, after, err := e.listWindow(f)
	if err != nil {
		return nil, err
	}
	all := opts.All || opts.Limit > 0 || len(f["status"]) > 0 || len(f["exited"]) > 0 || len(f["before"]) > 0 || len(f["since"]) > 0
	return func(r *record.Record) bool {
		return (all || r.Up()) &&
			f.Match("status", func(v string) bool { return v == string(r.Status) }) &&
			f.Match("health", func(v string) bool { return v == string(inspect.HealthSummary(r).Status) }) &&
			f.Match("id", func(v string) bool { return strings.HasPrefix(r.ID, v) }) &&
			(len(names) == 0 || slices.ContainsFunc(names, func(p *regexp.Regexp) bool { return p.MatchString(r.Name) || p.MatchString("/"+r.Name) })) &&
			f.All("label", func(v string) bool { return filters.HasLabel(r.Config.Labels, v) }) &&
			f.All("annotation", func(v string) bool { return filters.HasLabel(r.HostConfig.Annotations, v) }) &&
			f.Match("network", func(v string) bool { return v == inspect.NetworkName(r) }) &&
			f.Match("volume", func(v string) bool { return hasMount(r, v) }) &&
			f.None("publish", "expose") &&
			(len(exited) == 0 || r.Status == record.StatusExited && slices.Contains(exited, r.ShownExitCode())) &&
			(images == nil || slices.Contains(images, r.Image)) &&
			(before.IsZero() || r.Created.Before(before)) && (after.IsZero() || r.Created.After(after))
	}, nil
}

// hasMount tells whether a container has a mount with this destination or, where it has a name, of this name; else with
// this source.
func hasMount(r *record.Record, v string) bool {
	return slices.ContainsFunc(r.Mounts, func(m record.Mount) bool {
		return v == m.Destination || v == cmp.Or(m.Name, m.Source)
	})
}

// namePatterns reads the values of the filter by name: regular expressions, for
// the name with a slash before it or without.
func namePatterns(values []string) ([]*regexp.Regexp, error) {
	var list []*regexp.Regexp
	for _, v := range values {
		p, err := regexp.Compile(v)
		if err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'name=%s': %v", v, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func numbers(values []string) ([]int, error) {
	var list []int
	for _, v := range values {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid filter 'exited=%s': %v", v, err)
		}
		list = append(list, n)
	}
	return list, nil
}

// ancestors resolves image names; one that isn't there matches nothing.
func (e *Engine) ancestors(ctx context.Context, refs []string) ([]string, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	ids := []string{}
	for _, ref := range refs {
		img, err := e.images.Resolve(ctx, ref)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, img.ID.String())
	}
	return ids, nil
}

func (e *Engine) listWindow(f filters.Filters) (before, after time.Time, err error) {
	for _, ref := range f["before"] {
		o, err := e.find(ref)
		if err != nil {
			return before, after, err
		}
		before = o.Record().Created
	}
	for _, ref := range f["since"] {
		o, err := e.find(ref)
		if err != nil {
			return before, after, err
		}
		after = o.Record().Created
	}
	return before, after, nil
}
