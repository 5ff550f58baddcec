package images

import (
	"context"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// Remove removes the name ref of an image, or all its names if ref is an id. An image
// without a name left is deleted. Its content is removed in the background, except for
// layers that containers need. Remove returns the changes in Docker's terms.
//
// The error is NotFound, or Conflict. Without force, Conflict means that a container
// uses the image whose last name would go, or that the image with this id has names in
// several repositories. With force, it means that a running container uses the image
// with this id. A forced removal of the last name of an image that a running container
// uses leaves the image untagged.
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]image.DeleteResponse, error) {
	plan, err := s.planRemoval(ref)
	if err != nil {
		return nil, err
	}
	return s.carryOut(ctx, plan, o)
}

func (s *Store) carryOut(ctx context.Context, plan *removal, o RemoveOptions) ([]image.DeleteResponse, error) {
	if err := plan.check(o); err != nil {
		return nil, err
	}
	var done []image.DeleteResponse
	err := s.edit(s.scope(ctx), func(ctx context.Context) error {
		var err error
		done, err = s.remove(ctx, plan)
		return err
	})
	return done, err
}

// removal is what Remove is about to do.
type removal struct {
	ref      string
	id       digest.Digest // empty if the content can't be read
	byID     bool
	drop     []*record // the records to remove
	last     bool      // the image has no other names
	untagged bool      // the image keeps a record without a name
}

func (s *Store) planRemoval(ref string) (*removal, error) {
	c := s.names.Load()
	if named, err := parseName(ref); err == nil {
		if rec := c.findName(named); rec != nil {
			return planName(c, ref, rec), nil
		}
	}
	rec, err := c.find(ref)
	if err != nil {
		return nil, err
	}
	p := &removal{ref: ref, id: rec.image.ID, byID: true, last: true}
	p.drop = c.byID[rec.image.ID]
	return p, nil
}

func planName(c *catalog, ref string, rec *record) *removal {
	p := &removal{ref: ref, drop: []*record{rec}, last: true}
	if rec.named != nil {
		p.ref = reference.FamiliarString(rec.named)
	}
	if rec.image != nil {
		p.id = rec.image.ID
		p.last = len(c.byID[p.id]) == 1
	}
	return p
}

// check refuses what Docker refuses.
func (p *removal) check(o RemoveOptions) error {
	if p.byID && !o.Force && len(repositories(p.drop)) > 1 {
		return classed.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - "+
			"image is referenced in multiple repositories", p.ref)
	}
	if !p.last || o.InUse == nil || p.id == "" {
		return nil
	}
	uses := o.InUse(p.id)
	if len(uses) == 0 {
		return nil
	}
	running := slices.IndexFunc(uses, func(u Use) bool { return u.Running })
	switch {
	case !o.Force:
		return classed.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - container %s is using its referenced image %s", p.ref, short(uses[0].ContainerID), short(p.id.Encoded()))
	case running < 0:
		return nil
	case p.byID:
		return classed.Errorf(errdefs.ErrConflict, "conflict: unable to delete %s (cannot be forced) - "+
			"image is being used by running container %s", p.ref, short(uses[running].ContainerID))
	}
	p.untagged = true
	return nil
}

// remove carries out a plan; the caller is in edit. It skips names that moved to another
// image since the plan was made.
func (s *Store) remove(ctx context.Context, p *removal) ([]image.DeleteResponse, error) {
	var done []image.DeleteResponse
	now := s.names.Load()
	for _, rec := range p.drop {
		if is := now.byName[rec.Name]; is == nil || is.Target.Digest != rec.Target.Digest {
			continue
		}
		if p.untagged {
			if err := s.keepUntagged(ctx, p.id, rec.Target, rec.Name); err != nil {
				return done, err
			}
		}
		if err := s.dropRecord(ctx, rec.Name); err != nil {
			return done, err
		}
		done = append(done, untaggedAs(rec)...)
	}
	if p.id == "" || p.untagged {
		return done, nil
	}
	if err := s.refresh(ctx); err != nil {
		return done, err
	}
	if len(s.names.Load().byID[p.id]) == 0 {
		done = append(done, image.DeleteResponse{Deleted: p.id.String()})
	}
	return done, nil
}

func untaggedAs(rec *record) []image.DeleteResponse {
	if rec.named == nil {
		return nil
	}
	return []image.DeleteResponse{{Untagged: reference.FamiliarString(rec.named)}}
}

func repositories(recs []*record) map[string]bool {
	names := make(map[string]bool)
	for _, rec := range recs {
		if rec.named != nil {
			names[rec.named.Name()] = true
		}
	}
	return names
}

// short cuts an id to the length that Docker shows.
func short(id string) string { return id[:min(shortID, len(id))] }
