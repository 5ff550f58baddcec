package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/api"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// journalReader reads a journal: the file, or through the API where an engine has it.
type journalReader struct {
	root, socket string
	out          io.Writer
}

func journalCommand() *cobra.Command {
	var run string
	r := &journalReader{}
	cmd := &cobra.Command{
		Use: "journal", Short: "look into the journal, beside an engine or without one", Args: cobra.NoArgs,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			r.out = cmd.OutOrStdout()
			if r.socket == "" {
				r.socket = filepath.Join(run, "engine.sock")
			}
		},
	}
	f := cmd.PersistentFlags()
	f.StringVar(&r.root, "root", "/var/lib/engine-lite", "the engine's `directory` of journal, images and logs")
	f.StringVar(&run, "run", "/run/engine-lite", "the engine's `directory` of sockets")
	f.StringVar(&r.socket, "socket", "", "`path` of the REST API's socket (default RUN/engine.sock)")
	check := &cobra.Command{
		Use: "check", Short: "tell what is wrong with the journal; the status is 1 if something is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.check(cmd.Context()) },
	}
	cmd.AddCommand(check, r.dumpCommand())
	return cmd
}

func (r *journalReader) dumpCommand() *cobra.Command {
	var o store.DumpOptions
	var cursor uint64
	cmd := &cobra.Command{
		Use: "dump", Short: "print records and events, a line of JSON each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("cursor") {
				o.After = &cursor
			}
			if o.Limit < 0 {
				return fmt.Errorf("--limit is %d and has to be 0 or more: %w", o.Limit, errdefs.ErrInvalidArgument)
			}
			return r.dump(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&cursor, "cursor", 0, "begin after the event with this `number` (default with the oldest that is kept)")
	f.IntVar(&o.Limit, "limit", 0, "print so many events at most: a `number`, 0 for all")
	f.BoolVar(&o.Records, "records", true, "print the records too, before the events")
	return cmd
}

// file opens the journal's file; nil where an engine has it.
func (r *journalReader) file() (*journal.Journal, error) {
	j, err := journal.Open(filepath.Join(r.root, engine.JournalName), journal.Options{Format: store.Format, ReadOnly: true, LockTimeout: -1})
	if errors.Is(err, journal.ErrInUse) {
		return nil, nil
	}
	return j, err
}

func (r *journalReader) check(ctx context.Context) (err error) {
	var found api.JournalFindings
	j, err := r.file()
	switch {
	case errdefs.IsDataLoss(err):
		found.Findings = []string{err.Error()}
	case err != nil:
		return err
	case j == nil:
		err = r.get(ctx, "check", nil, func(body io.Reader) error { return json.NewDecoder(body).Decode(&found) })
	default:
		defer closing(&err, j.Close)
		found.Findings, err = engine.CheckJournal(ctx, j)
	}
	if err != nil && !errdefs.IsDataLoss(err) {
		return err
	}
	for _, f := range found.Findings {
		if _, err := fmt.Fprintln(r.out, f); err != nil {
			return err
		}
	}
	if n := len(found.Findings); n > 0 {
		return fmt.Errorf("%d findings in the journal: %w", n, errdefs.ErrDataLoss)
	}
	_, err = fmt.Fprintln(r.out, "the journal is sound")
	return err
}

func (r *journalReader) dump(ctx context.Context, o store.DumpOptions) (err error) {
	j, err := r.file()
	if err != nil {
		return err
	}
	if j == nil {
		query := url.Values{"records": {strconv.FormatBool(o.Records)}, "limit": {strconv.Itoa(o.Limit)}}
		if o.After != nil {
			query.Set("cursor", strconv.FormatUint(*o.After, 10))
		}
		return r.get(ctx, "dump", query, func(body io.Reader) error {
			_, err := io.Copy(r.out, body)
			return err
		})
	}
	defer closing(&err, j.Close)
	out := bufio.NewWriter(r.out)
	defer closing(&err, out.Flush)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return store.Dump(ctx, j, o, func(line store.DumpLine) error { return lines.Encode(line) })
}

// get asks the engine that has the journal.
func (r *journalReader) get(
	ctx context.Context, what string, query url.Values, read func(io.Reader) error,
) (err error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.socket)
	}}
	defer transport.CloseIdleConnections()
	address := "http://engine/engine-lite/journal/" + what + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("an engine has the journal and does not answer: %w", err)
	}
	defer closing(&err, response.Body.Close)
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return errors.Join(fmt.Errorf("the engine answers %s: %s",
			response.Status, strings.TrimSpace(string(text))), err)
	}
	return read(response.Body)
}
