package evidence

import (
	_ "embed"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"day": day}).Parse(pageText))

// WriteHTML writes the report as one page that needs nothing else: no script, no
// font, no picture, nothing from the network.
func (r *Report) WriteHTML(w io.Writer) error { return page.Execute(w, r) }
