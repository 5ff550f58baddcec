package api

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
)

// records is an answer of one JSON document after the other. The answer begins with
// the first document, or with open. An error before that still gets a status of its
// own. Several goroutines may send documents.
type records struct {
	w     *response
	ctx   context.Context
	media string

	mu   sync.Mutex
	body io.Writer
	end  func() error
}

// records prepares an answer; finish has to be called.
func (w *response) records(ctx context.Context, media string) *records {
	return &records{w: w, ctx: ctx, media: media}
}

// open sends the header at once.
func (s *records) open() {
	s.w.Header().Set("Content-Type", s.media)
	s.w.Flush()
	s.begin()
}

func (s *records) begin() io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		s.w.Header().Set("Content-Type", s.media)
		s.body, s.end = s.w.body(s.ctx)
	}
	return s.body
}

// send sends v as one document.
func (s *records) send(v any) error {
	line, err := encodeJSON(v)
	if err != nil {
		return err
	}
	return s.write(line)
}

// write sends p, which is one document, or one with a frame around it.
func (s *records) write(p []byte) error {
	_, err := s.begin().Write(p)
	return err
}

// finish ends the answer. It returns err, or else the error of sending, or nil where
// the client or the handler's shutdown ended the stream.
func (s *records) finish(err error) error {
	begun := s.end != nil
	if begun {
		if endErr := s.end(); err == nil {
			err = endErr
		}
	}
	switch {
	case begun && s.ctx.Err() != nil:
		return nil
	case begun || err != nil:
		return err
	}
	s.w.Header().Set("Content-Type", s.media)
	s.w.WriteHeader(http.StatusOK)
	return nil
}

// message is a progress message. The text of its error is there a second time, in the
// field that many libraries read.
type message struct {
	jsonstream.Message
	ErrorText string `json:"error,omitempty"`
}

// progress is the answer of a pull, a load or an import.
type progress struct {
	*records
}

func (w *response) progress(ctx context.Context) progress {
	return progress{w.records(ctx, "application/json")}
}

func (p progress) sendMessage(m jsonstream.Message) error {
	full := message{Message: m}
	if m.Error != nil {
		full.ErrorText = m.Error.Message
	}
	return p.send(full)
}

// finish ends the answer, with err as its last message where it has begun.
func (p progress) finish(err error) error {
	if p.end == nil {
		return p.records.finish(err)
	}
	return p.finishInStream(err)
}

// finishInStream ends the answer, with err as its last message even where nothing was sent before: the status is 200.
func (p progress) finishInStream(err error) error {
	if err == nil {
		return p.records.finish(nil)
	}
	failed := &jsonstream.Error{Code: statusOf(err), Message: err.Error()}
	return p.records.finish(p.sendMessage(jsonstream.Message{Error: failed}))
}
