package images

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// progressEvery is the interval of messages about a download.
	progressEvery = 100 * time.Millisecond
	// shortID is the length of the ids that Docker shows for layers.
	shortID = 12
)

// report collects the messages of a pull's goroutines. The caller's goroutine relays
// them: a slow reader of progress delays no download.
type report struct {
	wake chan struct{}

	mu     sync.Mutex
	queue  []jsonstream.Message
	layers []*layerLine
}

func newReport() *report { return &report{wake: make(chan struct{}, 1)} }

// say queues a message; it never blocks.
func (r *report) say(m jsonstream.Message) {
	r.mu.Lock()
	r.queue = append(r.queue, m)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// relay runs work in a goroutine, calls progress with each message meanwhile, and waits
// for the goroutine. It returns the error of work.
func (r *report) relay(progress func(jsonstream.Message), work func() error) error {
	done := make(chan error, 1)
	var joined sync.WaitGroup
	joined.Go(func() { done <- work() })
	defer joined.Wait()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.wake:
		case <-tick.C:
			r.sample()
		case err := <-done:
			r.flush(progress)
			return err
		}
		r.flush(progress)
	}
}

func (r *report) flush(progress func(jsonstream.Message)) {
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	if progress == nil {
		return
	}
	for _, m := range queue {
		progress(m)
	}
}

// sample queues the progress of every layer with new bytes.
func (r *report) sample() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.layers {
		if n := l.bytes.Load(); l.downloading && n != l.shown {
			l.shown = n
			r.queue = append(r.queue, l.message("Downloading", &jsonstream.Progress{Current: n, Total: l.total}))
		}
	}
}

// layerLine is the line of one layer in a pull's progress.
type layerLine struct {
	report *report
	id     string
	total  int64
	bytes  atomic.Int64
	there  atomic.Bool

	// The fields below are guarded by report.mu.
	downloading bool
	shown       int64
}

// layer adds a layer's line.
func (r *report) layer(desc ocispec.Descriptor) *layerLine {
	id := desc.Digest.Encoded()
	l := &layerLine{report: r, id: id[:min(shortID, len(id))], total: desc.Size}
	r.mu.Lock()
	r.layers = append(r.layers, l)
	r.mu.Unlock()
	r.say(l.message("Pulling fs layer", nil))
	return l
}

func (l *layerLine) message(status string, p *jsonstream.Progress) jsonstream.Message {
	return jsonstream.Message{ID: l.id, Status: status, Progress: p}
}

// started is called when the first bytes were requested.
func (l *layerLine) started() {
	l.report.mu.Lock()
	l.downloading = true
	l.report.mu.Unlock()
	l.report.say(l.message("Downloading", &jsonstream.Progress{Total: l.total}))
}

// downloaded is called when the blob is complete. There is true if the blob was here
// before, and unpacked.
func (l *layerLine) downloaded(there bool) {
	l.report.mu.Lock()
	l.downloading = false
	l.report.mu.Unlock()
	l.there.Store(there)
	if there {
		l.report.say(l.message("Already exists", nil))
		return
	}
	l.report.say(l.message("Download complete", nil))
}

func (l *layerLine) unpacking() {
	if !l.there.Load() {
		l.report.say(l.message("Extracting", nil))
	}
}

func (l *layerLine) unpacked() {
	if !l.there.Load() {
		l.report.say(l.message("Pull complete", nil))
	}
}

// countingFetcher counts the bytes that are read from a registry, for a layer's line.
type countingFetcher struct {
	remotes.Fetcher
	line *layerLine
}

func (f countingFetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := f.Fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	f.line.started()
	counting := countingReader{ReadCloser: rc, line: f.line}
	if seeker, ok := rc.(io.Seeker); ok {
		return countingSeeker{countingReader: counting, seeker: seeker}, nil
	}
	return counting, nil
}

type countingReader struct {
	io.ReadCloser
	line *layerLine
}

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.line.bytes.Add(int64(n))
	return n, err
}

// countingSeeker passes on the seek that resumes a download.
type countingSeeker struct {
	countingReader
	seeker io.Seeker
}

func (r countingSeeker) Seek(offset int64, whence int) (int64, error) {
	at, err := r.seeker.Seek(offset, whence)
	if err == nil {
		r.line.bytes.Store(at)
	}
	return at, err
}
