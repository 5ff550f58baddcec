package api

import (
	"net/http"

	"github.com/moby/moby/api/types/container"
)

// wait sends the header of its answer before it waits: clients start the container
// when they have got the header.
func (h containerHandlers) wait(w *response, r *request) error {
	condition := container.WaitCondition(r.query.Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return invalid("invalid condition: %q", condition)
	}
	ctx, cancel := h.streaming.begin(r.Context())
	defer cancel()
	answers, err := h.engine.ContainerWait(ctx, r.name, condition)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Flush()
	answer, ok := <-answers
	if !ok {
		// The answer has no body and no proper end, so that no client takes it
		// for an exit.
		panic(http.ErrAbortHandler)
	}
	line, err := encodeJSON(answer)
	if err != nil {
		return err
	}
	_, err = w.Write(line)
	return err
}
