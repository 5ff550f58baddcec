package images

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
)

// missingID is what Docker shows for history entries that are no image here.
const missingID = "<missing>"

// Inspect describes an image as Docker does. Errors are Resolve's.
func (s *Store) Inspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	img, err := s.Resolve(ctx, ref)
	if err != nil {
		return image.InspectResponse{}, err
	}
	size, err := s.Size(ctx, img)
	if err != nil {
		return image.InspectResponse{}, err
	}
	config := img.Config.Config
	answer := image.InspectResponse{
		ID:           img.ID.String(),
		RepoTags:     img.Names,
		RepoDigests:  img.Digests,
		Author:       img.Config.Author,
		Config:       &config,
		Architecture: img.Config.Architecture,
		Variant:      img.Config.Variant,
		Os:           img.Config.OS,
		OsVersion:    img.Config.OSVersion,
		Size:         size,
		GraphDriver:  &storage.DriverData{Name: s.snapshotter, Data: map[string]string{}},
		RootFS:       image.RootFS{Type: "layers"},
		Metadata:     image.Metadata{LastTagTime: img.Updated},
		Descriptor:   &img.Target,
	}
	for _, d := range img.Config.RootFS.DiffIDs {
		answer.RootFS.Layers = append(answer.RootFS.Layers, d.String())
	}
	if h := img.Config.History; len(h) > 0 {
		answer.Comment = h[len(h)-1].Comment
	}
	if img.Config.Created != nil {
		answer.Created = img.Config.Created.Format(time.RFC3339Nano)
	}
	return answer, nil
}

// History lists how an image came to be, newest first. Errors are Resolve's.
func (s *Store) History(ctx context.Context, ref string) ([]image.HistoryResponseItem, error) {
	img, err := s.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	sizes, err := s.sizesOf(ctx, &img)
	if err != nil {
		return nil, err
	}
	entries := img.Config.History
	items := make([]image.HistoryResponseItem, len(entries))
	layer := 0
	for i, h := range entries {
		item := image.HistoryResponseItem{ID: missingID, Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && layer < len(sizes) {
			item.Size = sizes[layer]
			layer++
		}
		items[len(entries)-1-i] = item
	}
	if len(items) > 0 {
		items[0].ID, items[0].Tags = img.ID.String(), img.Names
	}
	return items, nil
}
