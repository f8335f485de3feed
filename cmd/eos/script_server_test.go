package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// listeningAt waits until a runtime has said where it listens, or has ended.
func listeningAt(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "listening FILE VARIABLE")
	line := regexp.MustCompile(`(?m)^listening on (https://\S+)$`)
	for {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			if m := line.FindSubmatch(b); m != nil {
				ts.Setenv(args[1], string(m[1]))
				return
			}
		}
		var pid int
		if _, err := fmt.Sscan(readOr(ts.MkAbs("pid"), "0"), &pid); err == nil && pid > 0 && syscall.Kill(pid, 0) != nil {
			ts.Fatalf("it has ended: %s", readOr(ts.MkAbs("log"), ""))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func readOr(path, other string) string {
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
		return string(b)
	}
	return other
}

// httpsAsk makes a request as a client that knows nothing of attestation.
func httpsAsk(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 || len(args) > 5 {
		ts.Fatalf("usage: https METHOD URL CA-FILE [TOKEN-FILE|- [BODY]]")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ts.ReadFile(args[2]))) {
		ts.Fatalf("%s has no certificate", args[2])
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], strings.NewReader(strings.Join(args[min(4, len(args)):], "")))
	ts.Check(err)
	if len(args) > 3 && args[3] != "-" {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[3])))
	}
	resp, err := tr.RoundTrip(req)
	if neg {
		if err == nil {
			ts.Fatalf("%s answers %s", args[1], resp.Status)
		}
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintf(ts.Stdout(), "%d ", resp.StatusCode)
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}
