"""The chat templates that are known by name; of Jinja2, as models of Hugging Face bring their own."""

from __future__ import annotations

CHATML = ("<|im_start|>", "<|im_end|>")
"""The marks of ``chatml``."""
SHIPPED = {
    "chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    "alpaca": (
        "{{ bos_token }}"
        "{% if messages[0]['role'] != 'system' %}"
        "{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\\n\\n' }}"
        "{% endif %}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
        "{% else %}{{ '### Response:\\n' + message['content'] + eos_token }}"
        "{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
    ),
    "plain": (
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n' }}"
        "{% elif message['role'] == 'user' %}{{ 'Question: ' + message['content'] + '\\n' }}"
        "{% else %}{{ 'Answer: ' + message['content'] + eos_token }}"
        "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
    ),
    "none": (
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ message['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\n' }}{% endif %}"
    ),
    "text": (
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{{ message['content'] }}{% if not loop.last %}{{ ' ' }}{% endif %}"
        "{% endfor %}"
    ),
}
"""Name → template: ChatML's marks; Alpaca's frame (Taori et al. 2023); "Question: …" and "Answer: …", a line each;
nothing but line breaks; and nothing but spaces, so that a plain text goes on. All but the first begin a text as the
tokenizer does, and those with marks end an answer so."""
