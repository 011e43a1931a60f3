variable "name" {
  description = "The beginning of every name, such as shop-eu."
  type        = string
}

variable "purposes" {
  description = "What is encrypted, a key for each."
  type        = set(string)
  default     = ["cluster", "database", "cache", "queue", "logs", "secrets"]
}
