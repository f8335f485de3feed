package boot

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/enclaveos/eos/pkg/ijson"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// server is an attestation server: who verifies quotes for us, and the token it
// wants.
type server struct {
	URL   string `json:"url"`
	Token string `json:"token,omitempty"`
}

const (
	maxServers = 64
	maxURL     = 2048
)

// serversText is what is attested of the servers: their URLs without the tokens.
func serversText(servers []server) []byte {
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	slices.Sort(urls)
	return []byte(strings.Join(urls, "\n"))
}

func checkServers(servers []server) error {
	if len(servers) > maxServers {
		return fmt.Errorf("%d servers: at most %d", len(servers), maxServers)
	}
	seen := map[string]bool{}
	for _, s := range servers {
		u, err := url.Parse(s.URL)
		switch {
		case err != nil || len(s.URL) > maxURL || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsFunc(s.URL, func(r rune) bool { return r <= ' ' || r > '~' }):
			return fmt.Errorf("%.200q is not the https URL of a server", s.URL)
		case seen[s.URL]:
			return fmt.Errorf("%s is there twice", s.URL)
		case len(s.Token) > maxURL || strings.ContainsAny(s.Token, "\r\n"):
			return fmt.Errorf("the token of %s is none", s.URL)
		}
		seen[s.URL] = true
	}
	return nil
}

// bodyError is what a client gets whose body could not be read.
func bodyError(err error) error {
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return err
	case errors.Is(err, ingress.ErrCrowded):
		return &module.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
	}
	return &module.Error{Message: "the body is not complete"}
}

// readJSON reads one JSON document of the known fields into v.
func readJSON(w http.ResponseWriter, req *http.Request, most int64, v any) error {
	b, err := ingress.ReadAll(http.MaxBytesReader(w, req.Body, most))
	switch {
	case err != nil:
		return bodyError(err)
	case len(bytes.TrimSpace(b)) == 0:
		return &module.Error{Message: "the body is empty"}
	}
	if err := ijson.Unmarshal(b, v); err != nil {
		return &module.Error{Message: "the body is not the JSON that was expected: " + err.Error()}
	}
	return nil
}
