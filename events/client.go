package events

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Client says how to reach a daemon. Several consumers may use it at the same time. Its
// fields must not change while it is used.
type Client struct {
	// HTTP makes the connections; nil is http.DefaultClient. Its Timeout must be 0,
	// since a timeout would end each stream.
	HTTP *http.Client
	// URL is the daemon's address, such as "http://localhost:2375".
	URL string
	// Silence is how long a stream may bring nothing before Consume connects again.
	// 0 is a minute. The daemon sends at least a comment every 15 s.
	Silence time.Duration
	// Retry is the delay before the first try to connect again after a failure. Each
	// further delay is twice as long, up to 10 s. 0 is 100 ms.
	Retry time.Duration
}

// Unix returns a client for the daemon at a unix socket. The caller should Close it.
func Unix(socket string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return &Client{HTTP: &http.Client{Transport: transport}, URL: "http://engine"}
}

// Close closes the connections that no consumer uses.
func (c *Client) Close() { c.http().CloseIdleConnections() }

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

// Now returns the position of the newest event. It is for consumers that begin with the
// current state: call Now, then ask the daemon for its state, then Consume from the
// position. The state contains all events up to the position, and Consume delivers all
// later ones; some of those may be in the state already.
//
// The error is Unavailable if the daemon can't be reached, NotImplemented if the daemon
// doesn't number its events, else InvalidArgument.
func (c *Client) Now(ctx context.Context) (Position, error) {
	resp, err := c.get(ctx, url.Values{"until": {"1"}}, nil)
	if err != nil {
		return Position{}, err
	}
	defer resp.Body.Close()
	p := Position{Journal: resp.Header.Get("Engine-Lite-Journal")}
	p.Seq, err = strconv.ParseUint(resp.Header.Get("Engine-Lite-Newest"), 10, 64)
	if err != nil || p.Journal == "" {
		return Position{}, fmt.Errorf("the daemon does not number its events: %w", errdefs.ErrNotImplemented)
	}
	return p, nil
}

// GoneError says that the daemon doesn't have the events after a position: it has
// deleted them, or it has another journal now. To continue, begin again with the current
// state, see Client.Now. The error's class is OutOfRange.
type GoneError struct {
	// After is the consumer's position.
	After Position
	// Journal is the name of the daemon's journal.
	Journal string
	// Oldest and Newest are the numbers of the oldest and the newest event that the
	// daemon has.
	Oldest, Newest uint64
	text           string
}

func (e *GoneError) Error() string { return e.text }

// Unwrap returns errdefs.ErrOutOfRange.
func (e *GoneError) Unwrap() error { return errdefs.ErrOutOfRange }

// get asks for events. Errors: Unavailable if another try may help; a *GoneError; else
// InvalidArgument.
func (c *Client) get(ctx context.Context, query url.Values, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/events?"+query.Encode(),
		nil)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, errdefs.ErrInvalidArgument)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the daemon: %w: %w", err, errdefs.ErrUnavailable)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// refusal returns the error for an answer that is no stream.
func refusal(resp *http.Response) error {
	var body struct {
		Message        string
		Journal        string
		Oldest, Newest uint64
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && json.Unmarshal(data, &body) != nil {
		body.Message = resp.Status
	}
	switch {
	case resp.StatusCode == http.StatusGone:
		return &GoneError{Journal: body.Journal, Oldest: body.Oldest, Newest: body.Newest, text: body.Message}
	case resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		return fmt.Errorf("the daemon says: %s: %w", body.Message, errdefs.ErrUnavailable)
	}
	return fmt.Errorf("the daemon says: %s: %w", body.Message, errdefs.ErrInvalidArgument)
}
