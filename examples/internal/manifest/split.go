// Package manifest cuts YAML files into documents, so that what is wrong with
// one can be named by file and line and the others used.
package manifest

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
)

// A Part is the text of one document, which may be empty.
type Part struct {
	Line int // of the file, where the document begins
	Text []byte
}

// Split cuts at the document markers "---" and "..." (YAML 1.2, section 9.1).
// What follows a marker on its line belongs to the next document.
func Split(raw []byte) []Part {
	parts := []Part{{Line: 1}}
	for i, line := range bytes.SplitAfter(raw, []byte("\n")) {
		if rest, ok := cutMarker(line); ok {
			parts = append(parts, Part{Line: i + 1, Text: rest})
			if len(bytes.TrimSpace(rest)) == 0 {
				parts[len(parts)-1] = Part{Line: i + 2}
			}
			continue
		}
		last := &parts[len(parts)-1]
		last.Text = append(last.Text, line...)
	}
	return parts
}

// cutMarker returns what follows a document marker that begins the line.
func cutMarker(line []byte) (rest []byte, ok bool) {
	for _, marker := range []string{"---", "..."} {
		rest, ok := bytes.CutPrefix(line, []byte(marker))
		if ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			return rest, true
		}
	}
	return nil, false
}

// yamlLine is where the YAML decoder says that a fault is.
var yamlLine = regexp.MustCompile(`(?m)(yaml: |^  )line (\d+):`)

// Error returns the text of an error about the part, with the lines that the
// YAML decoder counted from the part's first turned into those of the file.
func (p Part) Error(err error) string {
	return yamlLine.ReplaceAllStringFunc(err.Error(), func(s string) string {
		m := yamlLine.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return s
		}
		return fmt.Sprintf("%sline %d:", m[1], n+p.Line-1)
	})
}
