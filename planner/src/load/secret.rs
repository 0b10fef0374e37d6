//! Secrets, as far as keys and addresses are read from them.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::problem::{Code, Problem};
use crate::resource::{SecretData, Subject, member};

/// The values of `data` (base64) and `stringData`, which wins, as in Kubernetes. Messages never show a value.
pub(crate) fn read(document: &Value, subject: &Subject) -> Result<SecretData, Vec<Problem>> {
    let mut data = SecretData::default();
    let mut problems = Vec::new();
    for field in ["data", "stringData"] {
        let Some(values) = document.get(field).filter(|v| !v.is_null()) else {
            continue;
        };
        let Some(values) = values.as_object() else {
            let problem = subject.error(
                &member![field],
                Code::InvalidSecret,
                format!("`{field}` is not a mapping"),
            );
            problems.push(problem.help("write `key: value` below it"));
            continue;
        };
        for (key, value) in values {
            let path = member![field, key.as_str()];
            let decoded = match (value.as_str(), field) {
                (Some(text), "stringData") => Ok(text.as_bytes().to_vec()),
                (Some(text), _) => {
                    let text: String = text.split_whitespace().collect();
                    STANDARD
                        .decode(text)
                        .map_err(|_| format!("the value of `{key}` is not base64"))
                }
                (None, _) => Err(format!("the value of `{key}` is not a text")),
            };
            match decoded {
                Ok(bytes) => {
                    data.values.insert(key.clone(), bytes);
                }
                Err(message) => {
                    let problem = subject.error_at_key(&path, Code::InvalidSecret, message);
                    problems.push(
                        without_values(problem)
                            .help("put plain text below `stringData`, in quotes"),
                    );
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(data)
    } else {
        Err(problems)
    }
}

/// The line of a problem, with nothing of it but the offending key: values stand beside it.
fn without_values(mut problem: Problem) -> Problem {
    if let Some(place) = &mut problem.place {
        let key: String = place
            .text
            .chars()
            .skip(place.column - 1)
            .take(place.length)
            .collect();
        place.text = format!("{}{key}", " ".repeat(place.column - 1));
    }
    problem
}
