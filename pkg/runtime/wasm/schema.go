package wasm

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/enclaveos/eos/pkg/runtime/module"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// schema is what callers can learn of an app.
type schema struct {
	App       string          `json:"app"`
	CodeHash  string          `json:"code_hash"`
	Command   bool            `json:"command"`
	Functions []abi.Signature `json:"functions"`
}

func (a *App) schema() schema {
	return schema{a.Name, a.CodeHash(), a.command, a.Functions()}
}

type appRequest struct {
	App  string `json:"app"`
	Auth string `json:"app_auth"`
}

// visible finds an app whose schema the caller may see: who may call what is not named
// by a rule of its own.
func (m *Module) visible(c module.Caller, name string) (*App, error) {
	a, f := m.app(name)
	if f != nil {
		return nil, f
	}
	if f := m.allow(a, "", c); f != nil {
		f.Text = strings.Replace(f.Text, " of app", "the schema of app", 1)
		return nil, f
	}
	return a, nil
}

// asked finds the app that a request is about, for who may see it.
func (m *Module) asked(c module.Caller, body json.RawMessage) (*App, error) {
	var r appRequest
	if err := decode(body, &r); err != nil {
		return nil, err
	}
	return m.visible(m.withAuth(c, r.Auth), r.App)
}

func (m *Module) wasmSchema(_ context.Context, c module.Caller, body json.RawMessage) (any, error) {
	a, err := m.asked(c, body)
	if err != nil {
		return nil, err
	}
	return struct {
		Status string `json:"status"`
		Schema schema `json:"schema"`
	}{"schema", a.schema()}, nil
}

func (m *Module) mcpTools(_ context.Context, c module.Caller, body json.RawMessage) (any, error) {
	a, err := m.asked(c, body)
	if err != nil {
		return nil, err
	}
	type tool struct {
		Name        string     `json:"name"`
		Description string     `json:"description"`
		Input       jsonSchema `json:"inputSchema"`
	}
	tools := []tool{}
	for _, s := range a.Functions() {
		tools = append(tools, tool{s.Name, s.String(), inputSchema(s)})
	}
	type manifestBody struct {
		Name  string `json:"name"`
		Tools []tool `json:"tools"`
	}
	return struct {
		Status   string       `json:"status"`
		Manifest manifestBody `json:"manifest"`
	}{"mcp_tools", manifestBody{a.Name, tools}}, nil
}

// jsonSchema describes named parameters.
type jsonSchema struct {
	Type       string                    `json:"type"`
	Properties map[string]map[string]any `json:"properties"`
	Required   []string                  `json:"required"`
	Additional bool                      `json:"additionalProperties"`
}

func inputSchema(s abi.Signature) jsonSchema {
	j := jsonSchema{Type: "object", Properties: map[string]map[string]any{}, Required: []string{}}
	for _, p := range s.Params {
		var t map[string]any
		switch p.Type {
		case abi.Bool:
			t = map[string]any{"type": "boolean"}
		case abi.S32, abi.S64:
			t = map[string]any{"type": "integer"}
		case abi.U32, abi.U64:
			t = map[string]any{"type": "integer", "minimum": 0}
		case abi.F32, abi.F64:
			t = map[string]any{"type": "number"}
		case abi.String:
			t = map[string]any{"type": "string"}
		case abi.Bytes:
			t = map[string]any{"type": "string", "contentEncoding": "base64"}
		default:
			t = map[string]any{}
		}
		j.Properties[p.Name] = t
		j.Required = append(j.Required, p.Name)
	}
	return j
}
