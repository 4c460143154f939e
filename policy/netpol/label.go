package netpol

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
)

// selector reports what is wrong with a selector. What is well formed passes
// by quick looks; for the rest the rules of the API server speak.
func (f *faults) selector(s *metav1.LabelSelector, at *path) {
	if !wellFormed(s, !f.noLabels) {
		f.list = append(f.list, metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at.field())...)
	}
}

// wellFormed reports whether the API server has nothing against a selector, or
// against all of it but its labels. It never says so of one that the API server
// refuses.
func wellFormed(s *metav1.LabelSelector, labels bool) bool {
	if labels {
		for k, v := range s.MatchLabels {
			if !isLabelKey(k) || !isLabelValue(v) {
				return false
			}
		}
	}
	for i := range s.MatchExpressions {
		r := &s.MatchExpressions[i]
		switch r.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			if len(r.Values) == 0 {
				return false
			}
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				return false
			}
		default:
			return false
		}
		if !isLabelKey(r.Key) {
			return false
		}
		for _, v := range r.Values {
			if !isLabelValue(v) {
				return false
			}
		}
	}
	return true
}

// isLabelKey reports whether s is a name of at most 63 bytes, perhaps after a
// domain name and a slash.
func isLabelKey(s string) bool {
	if domain, name, ok := strings.Cut(s, "/"); ok {
		return isDomain(domain) && name != "" && isLabelValue(name)
	}
	return s != "" && isLabelValue(s)
}

// isLabelValue reports whether s is empty, or at most 63 letters, digits and
// -_. that begin and end with a letter or digit.
func isLabelValue(s string) bool {
	if s == "" {
		return true
	}
	if len(s) > 63 || !isAlnum(s[0]) || !isAlnum(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// isDomain reports whether s is at most 253 bytes of lower case labels
// (RFC 1123) with dots between.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		edge := i == 0 || s[i-1] == '.' || i == len(s)-1 || s[i+1] == '.'
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case c == '-' && !edge:
		case c == '.' && i > 0 && i < len(s)-1 && s[i-1] != '.':
		default:
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
