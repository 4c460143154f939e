package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tierloom/tierloom/examples/internal/hostagent"
)

const countersUsage = "policy counters -agent URL [-o json]"

// counters lists what a host's agent says of the rules at its host.
func (c *command) counters(ctx context.Context, args []string) error {
	fs := flags("policy counters")
	agent := fs.String("agent", "", "`URL` of what the host agent's --health serves, such as http://192.0.2.11:8081")
	format := fs.String("o", "", "json for all that the agent says")
	if _, err := c.words(fs, args, countersUsage, 0, 0); err != nil {
		return err
	}
	u, err := url.Parse(*agent)
	if err != nil || u.Host == "" || *format != "" && *format != "json" {
		return fmt.Errorf("%w: %s", ErrUsage, countersUsage)
	}
	var s hostagent.PolicyStatus
	if err := fetch(ctx, u.JoinPath("policy").String(), &s); err != nil {
		return err
	}
	if *format == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DIRECTION\tSECTION\tRULE\tACTION\tPACKETS\tBYTES\tNAME")
	for _, r := range s.Rules {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", r.Direction, cmp.Or(r.Section, "default"), r.Rule, r.Action, r.Packets, r.Bytes, r.Name)
	}
	return w.Flush()
}

// fetch reads JSON from a process.
func fetch(ctx context.Context, url string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(why)))
	}
	return json.NewDecoder(resp.Body).Decode(v)
}
