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

// Client says how a daemon is reached. It may be used by several consumers.
type Client struct {
	// HTTP makes the connections; nil is http.DefaultClient. A Timeout in it
	// would cut each stream off.
	HTTP *http.Client
	// URL is the daemon's address, such as "http://localhost:2375".
	URL string
	// Silence is how long a stream may be without a sign of life before it
	// counts as broken; 0 is a minute. The daemon gives one each 15 s.
	Silence time.Duration
	// Retry is the delay before the first try to connect again after a failure,
	// twice as long before each further one and 10 s at most; 0 is 100 ms.
	Retry time.Duration
}

// Unix returns a client for the daemon behind a unix socket.
func Unix(socket string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return &Client{HTTP: &http.Client{Transport: transport}, URL: "http://engine"}
}

// Close closes the connections that no consumer uses any more.
func (c *Client) Close() { c.http().CloseIdleConnections() }

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

// Now returns the position behind the newest event: what is asked of the daemon
// after Now has returned is as new as that position or newer, and Consume from
// there tells of everything that isn't in it. The error is Unavailable where
// the daemon can't be reached.
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

// GoneError says that the events after a position can't be had: they are no
// longer kept, or the daemon has another journal. Who wants to go on takes the
// state anew, as after Now, and consumes from there.
type GoneError struct {
	// After is the position.
	After Position
	// Journal is the daemon's, Oldest and Newest the numbers of its oldest
	// event that is kept and of its newest one.
	Journal        string
	Oldest, Newest uint64
	text           string
}

func (e *GoneError) Error() string { return e.text }

// Unwrap gives the error its class.
func (e *GoneError) Unwrap() error { return errdefs.ErrOutOfRange }

// get asks for events. Its errors: Unavailable where another try may help, a
// *GoneError, else InvalidArgument.
func (c *Client) get(ctx context.Context, query url.Values, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/events?"+query.Encode(), nil)
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

// refusal is the error in an answer that isn't a stream.
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
