package images

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// layersAtOnce is how many layers one pull downloads at a time, as in Docker.
const layersAtOnce = 3

// Pull fetches an image for one platform, unpacks it and names it ref. It calls
// progress with messages in Docker's words, from the caller's goroutine. Pulls of the
// same blobs at the same time share them. A pull that fails or is cancelled leaves
// nothing behind.
//
// The errors are InvalidArgument for a malformed reference or content,
// NotFound, Unauthenticated, PermissionDenied, ResourceExhausted (too many
// requests), Unavailable for a registry that can't be reached, and
// NotImplemented for another machine's platform.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions, progress func(jsonstream.Message)) error {
	named, err := parseName(ref)
	if err != nil {
		return err
	}
	want := s.platform
	if o.Platform != "" {
		p, err := s.parsePlatform(o.Platform)
		if err != nil {
			return err
		}
		want = platforms.OnlyStrict(p)
	}
	ctx, release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	client := &http.Client{Transport: docker.DefaultHTTPTransport(nil)}
	defer client.CloseIdleConnections()
	p := &pull{store: s, named: named, want: want, resolver: newResolver(client, named, o.Auth), report: newReport()}
	return p.report.relay(progress, func() error { return p.run(ctx) })
}

// pull is one pull under way.
type pull struct {
	store    *Store
	named    reference.Named
	want     platforms.MatchComparer
	resolver remotes.Resolver
	fetcher  remotes.Fetcher
	report   *report
}

func (p *pull) run(ctx context.Context) error {
	name, target, err := p.resolver.Resolve(ctx, p.named.String())
	if err != nil {
		return registryError(ctx, p.named, err)
	}
	if p.fetcher, err = p.resolver.Fetcher(ctx, name); err != nil {
		return registryError(ctx, p.named, err)
	}
	p.report.say(jsonstream.Message{Status: "Pulling from " + reference.Path(p.named), ID: tagOrDigest(p.named)})
	img, err := p.fetchDocuments(ctx, target)
	if err != nil {
		return err
	}
	if err := p.fetchLayers(ctx, img); err != nil {
		return err
	}
	if err := p.store.link(ctx, target); err != nil {
		return err
	}
	if err := p.store.keepUnpacked(ctx, img); err != nil {
		return err
	}
	before := p.store.names.Load().byName[p.named.String()]
	if err := p.store.publish(ctx, img, p.named); err != nil {
		return err
	}
	p.report.say(jsonstream.Message{Status: "Digest: " + target.Digest.String()})
	outcome := "Downloaded newer image for "
	if before != nil && before.Target.Digest == target.Digest {
		outcome = "Image is up to date for "
	}
	p.report.say(jsonstream.Message{Status: "Status: " + outcome + reference.FamiliarString(p.named)})
	return nil
}

func tagOrDigest(named reference.Named) string {
	switch n := named.(type) {
	case reference.Digested:
		return n.Digest().String()
	case reference.Tagged:
		return n.Tag()
	}
	return ""
}

// fetchDocuments fetches index, manifest and configuration, and reads the image from
// them.
func (p *pull) fetchDocuments(ctx context.Context, target ocispec.Descriptor) (*Image, error) {
	manifest, err := p.fetchManifest(ctx, target, nestingLimit)
	if err != nil {
		return nil, err
	}
	children, err := ctrimages.Children(ctx, p.store.content, manifest)
	if err != nil {
		return nil, badContent(ctx, fmt.Errorf("cannot read manifest %s: %w", manifest.Digest, err))
	}
	if len(children) == 0 {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "manifest %s names no configuration", manifest.Digest)
	}
	if err := p.fetchDocument(ctx, children[0]); err != nil {
		return nil, err
	}
	return p.store.derive(ctx, target, p.want)
}

// fetchManifest fetches the manifest that fits the platform best and the
// indexes above it.
func (p *pull) fetchManifest(ctx context.Context, desc ocispec.Descriptor, depth int) (ocispec.Descriptor, error) {
	if desc.MediaType == ctrimages.MediaTypeDockerSchema1Manifest {
		return desc, classed.Errorf(errdefs.ErrNotImplemented, "manifest schema 1 of %s", reference.FamiliarString(p.named))
	}
	isIndex := ctrimages.IsIndexType(desc.MediaType)
	if depth == 0 || !isIndex && !ctrimages.IsManifestType(desc.MediaType) {
		return desc, classed.Errorf(errdefs.ErrInvalidArgument, "%s has media type %q, not an image's", desc.Digest, desc.MediaType)
	}
	if err := p.fetchDocument(ctx, desc); err != nil || !isIndex {
		return desc, err
	}
	var index ocispec.Index
	if err := p.store.readDocument(ctx, desc, &index); err != nil {
		return desc, err
	}
	fits := byPreference(index.Manifests, p.want)
	if len(fits) == 0 {
		return desc, classed.Errorf(errdefs.ErrNotFound, "no matching manifest for this platform in the manifest list entries of %s", reference.FamiliarString(p.named))
	}
	return p.fetchManifest(ctx, fits[0], depth-1)
}

func (p *pull) fetchDocument(ctx context.Context, desc ocispec.Descriptor) error {
	if desc.Size > documentLimit {
		return documentTooLarge(desc, desc.Size)
	}
	_, err := p.fetch(ctx, desc, p.fetcher)
	return err
}

// fetch gets one blob into the store. It waits for another fetch of the same blob, if
// there is one. There is true if the blob was in the store before.
func (p *pull) fetch(ctx context.Context, desc ocispec.Descriptor, from remotes.Fetcher) (there bool, err error) {
	if err := desc.Digest.Validate(); err != nil {
		return false, classed.Errorf(errdefs.ErrInvalidArgument, "digest %q: %v", desc.Digest, err)
	}
	err = remotes.Fetch(ctx, p.store.content, from, desc)
	if errdefs.IsAlreadyExists(err) {
		return true, nil
	}
	return false, registryError(ctx, p.named, err)
}

// fetchLayers downloads several layers at a time, and unpacks each when the layers
// below it are unpacked.
func (p *pull) fetchLayers(ctx context.Context, img *Image) error {
	chain := identity.ChainIDs(slices.Clone(img.Config.RootFS.DiffIDs))
	lines := make([]*layerLine, len(img.Layers))
	for i, desc := range img.Layers {
		lines[i] = p.report.layer(desc)
	}
	group, ctx := errgroup.WithContext(ctx)
	fetched := make([]chan struct{}, len(img.Layers))
	slots := make(chan struct{}, layersAtOnce)
	for i, desc := range img.Layers {
		fetched[i] = make(chan struct{})
		group.Go(func() error {
			defer close(fetched[i])
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			ready, err := p.store.unpacked(ctx, chain[i])
			if err != nil {
				return err
			}
			there, err := p.fetch(ctx, desc, countingFetcher{Fetcher: p.fetcher, line: lines[i]})
			if err == nil {
				lines[i].downloaded(there && ready)
			}
			return err
		})
	}
	group.Go(func() error { return p.unpackLayers(ctx, img, fetched, lines) })
	return group.Wait()
}

// unpackLayers unpacks bottom first, each layer when it has been fetched. It ends
// without an error at a layer whose fetch failed: the fetch returns the error.
func (p *pull) unpackLayers(ctx context.Context, img *Image, fetched []chan struct{}, lines []*layerLine) error {
	for i := range img.Layers {
		select {
		case <-fetched[i]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if ok, err := content.Exists(ctx, p.store.content, img.Layers[i]); err != nil || !ok {
			return err // the fetch returns the error
		}
		lines[i].unpacking()
		if err := p.store.unpackLayer(ctx, img, i); err != nil {
			return err
		}
		lines[i].unpacked()
	}
	return nil
}
