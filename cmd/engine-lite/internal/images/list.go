package images

import (
	"cmp"
	"context"
	"path"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// List returns the images that pass the filters, newest first. The errors are
// InvalidArgument for a malformed pattern and NotFound for an unknown image in
// Before or Since.
func (s *Store) List(ctx context.Context, o ListOptions) ([]image.Summary, error) {
	c := s.names.Load()
	keep, err := c.filter(o)
	if err != nil {
		return nil, err
	}
	var all *shares
	if o.SharedSize {
		if all, err = s.shares(ctx, c); err != nil {
			return nil, err
		}
	}
	list := make([]image.Summary, 0, len(c.byID))
	for _, recs := range c.byID {
		img := recs[0].image
		if !keep(img) {
			continue
		}
		summary, err := s.summarize(ctx, img, o.References)
		if err != nil {
			return nil, err
		}
		if all != nil {
			summary.SharedSize = all.of(img)
		}
		list = append(list, summary)
	}
	slices.SortFunc(list, func(a, b image.Summary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, nil
}

// summarize returns an image's entry, with those of its names that match.
func (s *Store) summarize(ctx context.Context, img *Image, patterns []string) (image.Summary, error) {
	size, err := s.Size(ctx, *img)
	if err != nil {
		return image.Summary{}, err
	}
	target := img.Target
	other := func(name string) bool { return !matchesAny(patterns, name) }
	return image.Summary{
		Containers:  -1,
		Created:     created(img).Unix(),
		Descriptor:  &target,
		ID:          img.ID.String(),
		Labels:      img.Config.Config.Labels,
		RepoDigests: slices.DeleteFunc(slices.Clone(img.Digests), other),
		RepoTags:    slices.DeleteFunc(slices.Clone(img.Names), other),
		SharedSize:  -1,
		Size:        size,
	}, nil
}

func created(img *Image) time.Time {
	if img.Config.Created == nil {
		return time.Unix(0, 0).UTC()
	}
	return *img.Config.Created
}

// filter joins the filters of o into one.
func (c *catalog) filter(o ListOptions) (func(*Image) bool, error) {
	var keep []func(*Image) bool
	for _, p := range o.References {
		if _, err := path.Match(p, ""); err != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "invalid reference pattern %q: %v", p, err)
		}
	}
	if len(o.References) > 0 {
		matches := func(name string) bool { return matchesAny(o.References, name) }
		keep = append(keep, func(img *Image) bool {
			return slices.ContainsFunc(img.Names, matches) || slices.ContainsFunc(img.Digests, matches)
		})
	}
	for _, label := range o.Labels {
		keep = append(keep, func(img *Image) bool { return filters.HasLabel(img.Config.Config.Labels, label) })
	}
	if o.Dangling != nil {
		keep = append(keep, func(img *Image) bool {
			return *o.Dangling == (len(img.Names)+len(img.Digests) == 0)
		})
	}
	if o.Before != "" {
		rec, err := c.find(o.Before)
		if err != nil {
			return nil, err
		}
		keep = append(keep, func(img *Image) bool { return created(img).Before(created(rec.image)) })
	}
	if o.Since != "" {
		rec, err := c.find(o.Since)
		if err != nil {
			return nil, err
		}
		keep = append(keep, func(img *Image) bool { return created(img).After(created(rec.image)) })
	}
	return func(img *Image) bool {
		return !slices.ContainsFunc(keep, func(k func(*Image) bool) bool { return !k(img) })
	}, nil
}

// matchesAny reports whether a familiar reference matches one of the patterns,
// with or without its tag or digest; no patterns match everything.
func matchesAny(patterns []string, familiar string) bool {
	if len(patterns) == 0 {
		return true
	}
	named, err := reference.ParseNormalizedNamed(familiar)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := reference.FamiliarMatch(p, named)
		return err == nil && ok
	})
}
