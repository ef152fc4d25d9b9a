# What policy.rego answers; `portcullis policy test proxy/packaging` runs it.
package portcullis_test

import data.portcullis

roles := {"reader": ["crm.account.read"]}

prompts := {"reader": ["summary"]}

resources := {"reader": ["file:///docs/"]}

# The decision about a request of somebody with the role.
decided(request) := decision if {
	decision := portcullis.request.decision with input as {"request": request, "subject": {"roles": ["reader"]}}
		with data.roles as roles
		with data.role_prompts as prompts
		with data.role_resources as resources
}

test_methods_that_name_nothing_pass if {
	every method in ["ping", "tools/list", "server/discover"] {
		decided({"method": method}).rule == "protocol"
	}
}

test_a_granted_tool_may_be_called if {
	decided({"method": "tools/call", "tool": "crm.account.read"}).rule == "role"
}

test_another_tool_may_not if {
	decided({"method": "tools/call", "tool": "crm.account.write"}) == {
		"allow": false,
		"rule": "default-deny",
		"reason": "no role of the subject grants it",
		"obligations": {},
	}
}

test_a_prompt_by_its_name if {
	decided({"method": "prompts/get", "prompt": "summary"}).allow
	not decided({"method": "prompts/get", "prompt": "other"}).allow
}

test_a_resource_by_how_it_begins if {
	decided({"method": "resources/read", "resource_uri": "file:///docs/a"}).allow
	not decided({"method": "resources/read", "resource_uri": "file:///secret"}).allow
}

test_a_method_of_no_kind_may_not if {
	not decided({"method": "other", "tool": "crm.account.read"}).allow
}

test_nobody_may_call if {
	decision := portcullis.request.decision with input as {"request": {"method": "tools/call", "tool": "crm.account.read"}}
		with data.roles as roles
	not decision.allow
}

test_what_is_granted_is_visible if {
	portcullis.request.visible with input as {"request": {"tool": "crm.account.read"}, "subject": {"roles": ["reader"]}}
		with data.roles as roles
	not portcullis.request.visible with input as {"request": {"tool": "other"}, "subject": {"roles": ["reader"]}}
		with data.roles as roles
}

test_contact_data_is_masked if {
	masked := portcullis.response.decision with input as {"request": {"tool": "crm.account.read"}}
	masked.obligations.redact == [{"at": "/contact/email", "action": "mask"}]
}

test_other_answers_pass_as_they_are if {
	passed := portcullis.response.decision with input as {"request": {"tool": "other"}}
	passed.allow
	passed.obligations == {}
}
