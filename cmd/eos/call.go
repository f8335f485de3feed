package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// defaultServer is where eos run listens.
const defaultServer = "127.0.0.1:8443"

func callCmd(u *ui) *cobra.Command {
	var (
		f      clientFlags
		asJSON bool
		data   string
	)
	cmd := &cobra.Command{
		Use:   "call [FLAGS] APP FUNCTION [PARAMETER=VALUE]...",
		Short: "call a function of an app in an enclave that is trusted",
		Long: `Call a function of an app and print its result. Nothing is sent before the
enclave has proven who it is and that it is at the other end of the connection.

APP is the app's name, served at https://` + defaultServer + `, or https://HOST[:PORT]/APP.
A parameter is text, a number, true or false as its type wants; =@FILE takes
the value from a file, := takes JSON as it is. Bytes are given and printed as
they are. --data gives all parameters as one JSON object; - is stdin.

  eos call --mrenclave app.sgxs --allow-software-platform app hello name=Ann
  eos call --policy prod.json https://notes.example.org/notes put name=a text=@a.txt
  eos call --mrsigner key.pem --token operator-token notes erase name=a`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return withHint(usagef("call wants APP and FUNCTION"), "eos call [FLAGS] APP FUNCTION [NAME=VALUE...]; GET /rpc/APP/schema lists an app's functions")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			hostport, app, err := appAddress(args[0])
			if err != nil {
				return err
			}
			if len(args) > 2 && data != "" {
				return usagef("--data gives all parameters: not together with %s", args[2])
			}
			c, err := f.open(u, hostport)
			if err != nil {
				return err
			}
			ctx, cancel := f.untilInterrupt()
			defer cancel()
			return call(ctx, u, c, app, args[1], args[2:], data, asJSON)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&data, "data", "", "all parameters: a JSON object, or @`FILE`")
	f.add(cmd)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// appAddress reads "APP" or "https://HOST[:PORT]/APP".
func appAddress(arg string) (hostport, app string, err error) {
	if !strings.Contains(arg, "/") {
		return defaultServer, arg, nil
	}
	u, err := url.Parse(arg)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", usagef("%s is not https://HOST[:PORT]/APP", arg)
	}
	app = strings.Trim(u.Path, "/")
	if app == "" || strings.Contains(app, "/") {
		return "", "", withHint(usagef("%s names no app", arg), "put its name behind the address: https://%s/APP", u.Host)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), app, nil
}

func call(ctx context.Context, u *ui, c *enclaveClient, app, function string, params []string, data string, asJSON bool) error {
	s, err := signature(ctx, c, app, function)
	if err != nil {
		return err
	}
	body, err := readParameters(u, s, params, data)
	if err != nil {
		return err
	}
	a, err := c.ask(ctx, "/rpc/"+url.PathEscape(app)+"/"+url.PathEscape(function), body)
	if err != nil {
		return err
	}
	if err := a.fault(); err != nil {
		return err
	}
	return printResult(u, s, a.body, asJSON)
}

// signature asks for the types of a function. It returns nil if the app does not
// tell them to us.
func signature(ctx context.Context, c *enclaveClient, app, function string) (*abi.Signature, error) {
	a, err := c.ask(ctx, "/rpc/"+url.PathEscape(app)+"/schema", nil)
	if err != nil {
		return nil, err
	}
	switch a.status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, nil
	default:
		return nil, a.fault()
	}
	var schema struct{ Functions []abi.Signature }
	if err := json.Unmarshal(a.body, &schema); err != nil {
		return nil, fmt.Errorf("the app's schema: %w", err)
	}
	var names []string
	for i := range schema.Functions {
		if s := &schema.Functions[i]; s.Name == function {
			return s, nil
		}
		names = append(names, schema.Functions[i].Name)
	}
	if len(names) == 0 {
		return nil, withHint(fmt.Errorf("the app %s has no functions: it is a command", oneLine(app)), "a request to /app/%s runs it", oneLine(app))
	}
	return nil, withHint(fmt.Errorf("the app %s has no function %s", oneLine(app), oneLine(function)), "it has %s", oneLine(strings.Join(names, ", ")))
}

// readParameters makes the JSON object of a call.
func readParameters(u *ui, s *abi.Signature, params []string, data string) ([]byte, error) {
	if data != "" {
		b := []byte(data)
		path, ok := strings.CutPrefix(data, "@")
		if ok || data == "-" {
			var err error
			if b, err = readValue(u, path); err != nil {
				return nil, err
			}
		}
		if b = bytes.TrimSpace(b); !json.Valid(b) || len(b) == 0 || b[0] != '{' {
			return nil, usagef("--data is not a JSON object")
		}
		return b, nil
	}
	values := map[string]json.RawMessage{}
	for _, p := range params {
		name, text, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, withHint(usagef("%q is not PARAMETER=VALUE", p), "for example name=Ann")
		}
		name, raw := strings.CutSuffix(name, ":")
		if _, twice := values[name]; twice {
			return nil, usagef("the parameter %s is given twice", name)
		}
		value := []byte(text)
		if path, ok := strings.CutPrefix(text, "@"); ok {
			var err error
			if value, err = readValue(u, path); err != nil {
				return nil, err
			}
		}
		v, err := encodeValue(s, name, value, raw)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return json.Marshal(values)
}

// maxValue bounds a parameter from a file.
const maxValue = 16 << 20

func readValue(u *ui, path string) ([]byte, error) {
	if path == "-" {
		b, err := io.ReadAll(io.LimitReader(u.stdin, maxValue+1))
		if err == nil && len(b) > maxValue {
			err = fmt.Errorf("more than %s", humanSize(maxValue))
		}
		if err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
		return b, nil
	}
	return readLimited(path, maxValue)
}

// encodeValue makes JSON of a parameter, by its type or, if nobody has told that,
// as text.
func encodeValue(s *abi.Signature, name string, value []byte, raw bool) (json.RawMessage, error) {
	if raw {
		if !json.Valid(value) {
			return nil, usagef("%s: not JSON", name)
		}
		return value, nil
	}
	t := abi.String
	if s != nil {
		known := false
		for _, p := range s.Params {
			if p.Name == name {
				t, known = p.Type, true
			}
		}
		if !known {
			return nil, withHint(usagef("%s has no parameter %s", s.Name, name), "it is %s", s)
		}
	}
	text := string(value)
	var err error
	switch t {
	case abi.Bytes:
		return json.Marshal(base64.StdEncoding.EncodeToString(value))
	case abi.JSON:
		if !json.Valid(value) {
			err = errors.New("not JSON")
		}
	case abi.Bool:
		if text != "true" && text != "false" {
			err = errors.New("neither true nor false")
		}
	case abi.S32, abi.S64:
		_, err = strconv.ParseInt(text, 10, 64)
	case abi.U32, abi.U64:
		_, err = strconv.ParseUint(text, 10, 64)
	case abi.F32, abi.F64:
		if !json.Valid(value) {
			err = errors.New("no number")
		}
	default:
		return json.Marshal(text)
	}
	if err != nil {
		return nil, withHint(usagef("%s=%s is no %s", name, oneLine(text), t), "the function is %s", s)
	}
	return value, nil
}

// printResult prints text and bytes as they are, other results as JSON.
func printResult(u *ui, s *abi.Signature, body []byte, asJSON bool) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		body = []byte("null")
	}
	if !json.Valid(body) {
		return errors.New("the answer is not JSON")
	}
	if asJSON {
		return u.json(json.RawMessage(body))
	}
	if string(body) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(body, &text) != nil {
		return u.printf("%s\n", body)
	}
	if s != nil && s.Result == abi.Bytes {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("the answer: %w", err)
		}
		_, err = u.stdout.Write(b)
		return err
	}
	// On a terminal, text of somebody else's must not control it.
	if f, ok := u.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		text = strings.Map(visible, text)
	}
	return u.printf("%s\n", text)
}

// visible replaces what would control a terminal.
func visible(r rune) rune {
	if unicode.IsPrint(r) || r == '\n' || r == '\t' {
		return r
	}
	return unicode.ReplacementChar
}
